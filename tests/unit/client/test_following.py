"""Following a log through whatever the connection does."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.client.asking import Answer, Retries
from perdure.client.events import Event, Status
from perdure.client.following import Following
from perdure.errors import NotFound, Unreachable

AT = "2026-11-21T12:00:00+00:00"


def sse(seq: int, kind: str = "custom", **data: Any) -> bytes:
    body = orjson.dumps({"seq": seq, "at": AT, "type": kind, "data": data})
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (seq, kind.encode(), body)


def end(seq: int) -> bytes:
    return sse(seq, "status", state="succeeded")


def begin(after: int = 0) -> Following:
    following = Following("r", after, Retries(attempts=3))
    following.call()
    assert following.opened(200)
    return following


@given(cuts=st.lists(st.integers(0, 400), max_size=8))
def test_however_the_bytes_are_cut_the_events_are_the_same(cuts: list[int]) -> None:
    whole = b"retry: 1000\n\n" + sse(1) + b": still here\n\n" + sse(2) + end(3)
    following = begin()
    seen: list[Event] = []
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    for start, stop in pairwise(places):
        seen += following.feed(whole[start:stop])
    following.closed()
    assert [event.seq for event in seen] == [1, 2, 3]
    assert following.ended


def test_half_an_event_is_asked_for_again() -> None:
    following = begin()
    assert [e.seq for e in following.feed(sse(1) + sse(2)[:-5])] == [1]
    following.dropped(OSError("gone"))
    assert not following.ended
    assert following.call().headers["Last-Event-ID"] == "1"
    assert [e.seq for e in following.feed(sse(2))] == [2]


def test_what_was_seen_does_not_come_again() -> None:
    following = begin(after=2)
    assert [e.seq for e in following.feed(sse(1) + sse(2) + sse(3))] == [3]


def test_after_a_gap_nothing_is_taken_and_the_connection_is_opened_again() -> None:
    following = begin()
    assert [e.seq for e in following.feed(sse(1) + sse(3) + end(4))] == [1]
    assert following.feed(end(5)) == []
    following.closed()
    assert not following.ended
    assert following.call().headers["Last-Event-ID"] == "1"
    assert [e.seq for e in following.feed(sse(2))] == [2]


def test_a_stream_that_ends_before_the_run_is_opened_again() -> None:
    following = begin()
    following.feed(sse(1))
    following.closed()
    assert not following.ended
    assert following.pause > 0


def test_an_end_that_a_redrive_undid_is_none() -> None:
    following = begin()
    events = following.feed(sse(1, "status", state="failed") + sse(2, "status", state="queued"))
    assert [isinstance(e, Status) and e.final for e in events] == [True, False]
    following.closed()
    assert not following.ended


def test_nothing_more_is_the_end() -> None:
    following = Following("r", 7, Retries())
    following.call()
    assert not following.opened(204)
    assert following.ended


def test_it_gives_up_only_on_drops_in_a_row() -> None:
    following = begin()
    for seq in range(1, 10):
        following.dropped(OSError("gone"))
        following.call()
        following.feed(sse(seq))
    following.dropped(OSError("gone"))
    following.dropped(OSError("gone"))
    with pytest.raises(Unreachable):
        following.dropped(OSError("gone"))


def test_a_refusal_is_raised_unless_it_passes() -> None:
    following = begin()
    following.refused(Answer(503, {"retry-after": "2"}, b""))
    assert 2 <= following.pause <= 2.25
    with pytest.raises(NotFound):
        following.refused(Answer(404, {}, b""))
