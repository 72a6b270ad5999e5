from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.gateway.sse import Event, SSEReader


def read(data: bytes, cuts: list[int] | None = None) -> list[Event]:
    reader, events, at = SSEReader(), [], 0
    for cut in [*sorted(cuts or []), len(data)]:
        events += reader.feed(data[at:cut])
        at = cut
    return events


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: a\n\n", [Event("", "a")]),
        (b"data:a\ndata: b\n\n", [Event("", "a\nb")]),
        (b"event: e\r\ndata: a\r\n\r\n", [Event("e", "a")]),
        (b"event: e\rdata: a\r\rdata: b\r\r", [Event("e", "a"), Event("", "b")]),
        (b": comment\nid: 1\nretry: 2\ndata: a\n\n", [Event("", "a")]),
        (b"event: e\n\ndata: a\n\n", [Event("", "a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Event("", "a")]),
        (b"data: a\n\ndata: unfinished\n", [Event("", "a")]),
        (b"data\n\n", [Event("", "")]),
        ("data: ü\n\n".encode(), [Event("", "ü")]),
        (b"", []),
    ],
)
def test_events(data: bytes, events: list[Event]) -> None:
    assert read(data) == events


LINES = [b"data: a", b"event: e", b": comment", b"data: \xc3\xbc", b""]


@given(
    st.lists(st.sampled_from(LINES), max_size=9),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(st.integers(0, 100), max_size=8),
)
def test_cuts_do_not_matter(lines: list[bytes], ending: bytes, cuts: list[int]) -> None:
    data = ending.join(lines) + ending * 2
    assert read(data, [min(cut, len(data)) for cut in cuts]) == read(data)
