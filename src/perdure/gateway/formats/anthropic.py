"""Anthropic Messages: ``POST /v1/messages``."""

from __future__ import annotations

import re
from typing import Any

from perdure.gateway.formats.base import CONTENT, END, PREAMBLE, Format, Sign, read_json
from perdure.gateway.sse import Event

# docs.claude.com, "Errors".
_ERROR_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error",
    403: "permission_error", 404: "not_found_error", 413: "request_too_large",
    429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip


def judge(event: Event) -> Sign:
    """See ``Format.judge``."""
    data = read_json(event)
    kind = data.get("type") or event.name
    if kind in ("message_start", "ping"):
        return PREAMBLE
    if kind == "message_stop":
        return END
    if kind == "error":
        error = data.get("error")
        return Sign(begun=False, error=error if isinstance(error, dict) else data)
    if kind == "content_block_delta":
        delta = data.get("delta")
        if isinstance(delta, dict) and delta.get("type") == "text_delta":
            return Sign(text=str(delta.get("text", "")))
    return CONTENT


def error(status: int, words: str) -> dict[str, Any]:
    """An error body."""
    kind = _ERROR_TYPES.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": words}}


def drop_cache_control(body: dict[str, Any]) -> None:
    """Takes the markers of prompt caching out of system, tools and messages: frameworks move them
    to the last message each turn, and they shape the bill, not the answer. What a tool was given
    or the user said is not touched."""
    body.pop("cache_control", None)
    for key in ("system", "tools"):
        _drop(body.get(key))
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            _drop(message.get("content"))


def _drop(blocks: object) -> None:
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict):
            block.pop("cache_control", None)
            if block.get("type") == "tool_result":
                _drop(block.get("content"))


MESSAGES = Format(
    "anthropic.messages",
    re.compile(r"/v1/messages$"),
    neutral=frozenset({"metadata", "service_tier", "inference_geo", "diagnostics"}),
    own_parts=("system", "tools"),
    lists=("messages",),
    headers=("anthropic-beta",),
    judge=judge,
    error=error,
    simplify=drop_cache_control,
)
