"""How large and deep a body may be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from perdure.errors import InvalidInput, TooLarge, UsageError
from perdure.server.web.limits import depth, parse_json, read_body


def _nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def _real_depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_real_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_real_depth, value), default=0)
    return 0


@pytest.mark.parametrize(
    "value",
    [
        1,
        "[[[[",
        [],
        {},
        {"a": [1, {"b": []}], "c": {}},
        [[], [[]], {"x": [[[]]]}],
        {'a"[': ['"]', "\\[", '\\"{', {"}": 1}]},
    ],
)
def test_depth_is_what_the_value_has(value: Any) -> None:
    assert depth(json.dumps(value).encode(), 100) == _real_depth(value)


def test_depth_stops_counting_past_its_limit() -> None:
    assert depth(_nested(50), 10) == 11


def test_json_at_the_limit_is_taken_and_past_it_refused() -> None:
    assert parse_json(_nested(20), 20) is not None
    with pytest.raises(TooLarge, match="more than 20 deep"):
        parse_json(_nested(21), 20)


def test_json_too_deep_for_the_parser_is_too_deep_as_well() -> None:
    with pytest.raises(TooLarge, match="deep"):
        parse_json(_nested(5000), 100)


@pytest.mark.parametrize("body", [b"", b"{", b"nope", b'{"a": NaN}', b"\xff\xfe", b'{"a":1}x'])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(UsageError, match="no valid JSON") as caught:
        parse_json(body, 10)
    assert caught.value.status == 400


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**40])
def test_integers_that_would_be_rounded_are_refused(number: int) -> None:
    with pytest.raises(InvalidInput, match="64 bits"):
        parse_json(json.dumps({"n": [number]}).encode(), 10)


@pytest.mark.parametrize(
    "body",
    [
        b"18446744073709551615",
        b"-9223372036854775808",
        b"0.12345678901234567890123",
        b"1234567890123456789012.5",
        b"12345678901234567890123e2",
        b'"99999999999999999999999"',
    ],
)
def test_numbers_that_only_look_too_long_are_taken(body: bytes) -> None:
    assert parse_json(body, 10) == json.loads(body)


def _receive(*chunks: bytes) -> Any:
    messages: Iterator[Message] = iter(
        {"type": "http.request", "body": chunk, "more_body": i + 1 < len(chunks)}
        for i, chunk in enumerate(chunks)
    )

    async def receive() -> Message:
        return next(messages)

    return receive


async def test_a_body_comes_in_pieces() -> None:
    assert await read_body({"headers": []}, _receive(b"ab", b"", b"c"), 3) == b"abc"


@pytest.mark.parametrize("chunks", [(b"abcd",), (b"ab", b"cd"), (b"ab", b"cd", b"never read")])
async def test_a_body_over_the_limit_is_refused(chunks: tuple[bytes, ...]) -> None:
    with pytest.raises(TooLarge):
        await read_body({"headers": []}, _receive(*chunks), 3)


async def test_a_length_over_the_limit_is_refused_unread() -> None:
    async def receive() -> Message:
        raise AssertionError("the body was read")

    with pytest.raises(TooLarge):
        await read_body({"headers": [(b"content-length", b"4")]}, receive, 3)


async def test_a_client_that_leaves_in_the_middle() -> None:
    messages: Iterator[Message] = iter(
        [
            {"type": "http.request", "body": b"a", "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> Message:
        return next(messages)

    with pytest.raises(ClientDisconnect):
        await read_body({"headers": []}, receive, 10)
