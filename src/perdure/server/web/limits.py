"""How large and deep a request may be (how slow: see the gate).

A body is read up to its limit and no further; its JSON is parsed once, and refused where it is
nested deeper than allowed or holds a number that would silently change its value.
"""

from __future__ import annotations

import re
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from perdure.errors import InvalidInput, TooLarge, UsageError

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ROUND = bytes.maketrans(b"{}", b"[]")
_LONG_NUMBER = re.compile(rb"(?<![\d.])-?\d{19,}(?![\d.eE])")


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The request's body. Raises TooLarge over ``limit`` bytes, ClientDisconnect."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise _too_large(limit)
    message = await _receive(receive)
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > limit:
            raise _too_large(limit)
        return body
    chunks, size = [body], len(body)
    while message.get("more_body"):
        message = await _receive(receive)
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


async def _receive(receive: Receive) -> Any:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"The body is over the limit of {limit} bytes.",
        hint="Settings: server.max_body. Put large data elsewhere and send its address.",
        limit=limit,
    )


def parse_json(body: bytes, max_depth: int) -> Any:
    """The JSON value of ``body``. Raises UsageError for what is no JSON, TooLarge for what is
    nested deeper than ``max_depth``, InvalidInput for integers over 64 bits."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # The parser's own limit is deeper than ours (orjson: 1024) and keeps the stack safe.
        if "recursion" in str(error).lower() or "depth" in str(error).lower():
            raise _too_deep(max_depth) from None
        raise UsageError(
            f"The body is no valid JSON: {error}", hint='Example: {"input": "hello"}'
        ) from None
    if depth(body, max_depth) > max_depth:
        raise _too_deep(max_depth)
    # Strings are cut out only where the cheap look over everything found something.
    if _overlong(body) and _overlong(_STRING.sub(b'""', body)):
        raise InvalidInput(
            "The body holds an integer over 64 bits, which would be rounded.",
            hint="Send it as a string.",
        )
    return value


def depth(body: bytes, limit: int) -> int:
    """How deep the valid JSON ``body`` nests; at most ``limit + 1`` is told. Works on brackets
    alone, a level a round, so that it costs little however the values look."""
    if body.count(b"[") + body.count(b"{") == 0:
        return 0
    brackets = _STRING.sub(b"", body).translate(_ROUND, _NOT_BRACKETS)
    rounds = 0
    while brackets and rounds <= limit:
        brackets = brackets.replace(b"[]", b"")
        rounds += 1
    return rounds


def _overlong(text: bytes) -> bool:
    return any(
        not -(2**63) <= int(number[0][:32]) < 2**64 for number in _LONG_NUMBER.finditer(text)
    )


def _too_deep(limit: int) -> TooLarge:
    return TooLarge(
        f"The body's JSON is nested more than {limit} deep.",
        hint="Settings: server.max_depth.",
        limit=limit,
    )
