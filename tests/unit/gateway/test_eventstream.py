from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.gateway.eventstream import EventStreamReader
from perdure.gateway.formats.bedrock import BEDROCK
from perdure.gateway.sse import Event
from perdure.gateway.watch import Watch
from tests.unit.gateway.bedrock import chunks, converse, event, exception, message

KIND = "application/vnd.amazon.eventstream"
STREAM = b"".join(converse(["Grüße ", "", "aus Rom"]))


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_cuts_change_nothing(cuts: list[int]) -> None:
    reader = EventStreamReader()
    ends = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in pairwise(ends)]
    assert [one for piece in pieces for one in reader.feed(piece)] == EventStreamReader().feed(
        STREAM
    )


def test_events_have_names_and_data() -> None:
    events = EventStreamReader().feed(STREAM)
    assert [one.name for one in events] == [
        "messageStart", "contentBlockDelta", "contentBlockDelta", "contentBlockDelta",
        "contentBlockStop", "messageStop", "metadata",
    ]  # fmt: skip
    assert "Grüße" in events[1].data


def test_headers_that_are_no_strings_are_passed_over() -> None:
    plain = message({}, event_type="x")
    # A true, a number of 4 bytes, a time of 8 and a value of 3 bytes before the string.
    others = b"\x01a\x00\x01b\x04\0\0\0\x07\x01c\x08" + bytes(8) + b"\x01d\x06\0\x03xyz"
    head = others + plain[12:-6]
    raw = (len(head) + 18).to_bytes(4, "big") + len(head).to_bytes(4, "big") + bytes(4) + head
    assert EventStreamReader().feed(raw + b"{}" + bytes(4)) == [Event("x", "{}")]


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    reader = EventStreamReader()
    reader.feed(data)
    reader.feed(data)


def watch(*pieces: bytes) -> tuple[Watch, str]:
    watching = Watch(BEDROCK.judge, KIND)
    return watching, "".join(watching.feed(piece) for piece in pieces)


def test_a_converse_stream_ends_with_its_metadata() -> None:
    pieces = converse(["a", "b"])
    watching, words = watch(*pieces[:-1])
    assert words == "ab"
    assert watching.complete
    assert not watching.final
    assert watch(*pieces)[0].final


def test_nothing_has_begun_before_the_first_piece() -> None:
    assert not watch(event("messageStart", {"role": "assistant"}))[0].begun
    tool = {"toolUse": {"input": "{"}}
    assert watch(event("contentBlockDelta", {"delta": tool}))[0].begun


def test_an_exception_is_an_error() -> None:
    watching, _ = watch(exception("throttlingException", "Slow down."))
    assert watching.error == {"type": "throttlingException", "message": "Slow down."}
    assert not watching.begun
    told = message({}, message_type="error", error_code="oops", error_message="No.")
    assert (watch(told)[0].error or {})["type"] == "oops"


METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 1}}


@pytest.mark.parametrize(
    "makers",
    [
        [{"outputText": "ab", "completionReason": "FINISH", **METRICS}],
        [{"generation": "a"}, {"generation": "b", "stop_reason": "stop", **METRICS}],
        [{"outputs": [{"text": "a"}]}, {"outputs": [{"text": "b"}], **METRICS}],
        [
            {"contentBlockDelta": {"delta": {"text": "ab"}, "contentBlockIndex": 0}},
            {"messageStop": {"stopReason": "end_turn"}},
            {"metadata": {}, **METRICS},
        ],
        [
            {"type": "message_start", "message": {}},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "ab"}},
            {"type": "message_stop", **METRICS},
        ],
    ],
    ids=["titan", "llama", "mistral", "nova", "claude"],
)
def test_makers_have_their_own_words(makers: list[dict[str, Any]]) -> None:
    watching, words = watch(*chunks(*makers))
    assert words == "ab"
    assert watching.final


def test_strange_chunks_are_content() -> None:
    watching, words = watch(event("chunk", {"bytes": "?"}), event("chunk", {}), *chunks({"x": 1}))
    assert (watching.begun, words, watching.complete) == (True, "", False)


def test_a_stream_that_is_not_understood_is_opaque() -> None:
    watching, words = watch(converse(["a"])[1], b"no message, but something else")
    assert (words, watching.opaque, watching.complete) == ("a", True, True)


def test_a_stream_of_another_kind_is_opaque() -> None:
    watching = Watch(BEDROCK.judge, "application/octet-stream")
    assert watching.feed(b"anything") == ""
    assert watching.opaque
    assert watching.complete
