"""Anthropic's prompt caching for agents that do not ask for it themselves: where its markers go.

A marker says "up to here": the provider keeps the tools, the system prompt and the messages before
it, in this order, and reads the longest such beginning again for a tenth of the price; writing it
costs a quarter more. At most four are allowed (platform.claude.com, "Prompt caching", November
2026): here one each behind the tools, the system prompt, the last message but one of the user
(which ended the request before this one, so that what it wrote is found) and the last message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from perdure.core.pattern import exactness

FORMAT = "anthropic.messages"
MARKER = {"type": "ephemeral"}
# Tokens that a beginning must have to be kept, by model: shorter ones are marked in vain.
# Anthropic's table, November 2026; what it does not list has the smallest.
LEAST: Mapping[str, int] = {
    "*": 512,
    "claude-3-*": 1024,
    "claude-3-haiku*": 2048,
    "claude-3-5-haiku*": 2048,
    "claude-haiku-4-5*": 4096,
    "claude-opus-4*": 1024,
    "claude-opus-4-5*": 4096,
    "claude-opus-4-6*": 4096,
    "claude-opus-4-7*": 2048,
    "claude-sonnet-*": 1024,
}
BYTES = 2  # of a prompt that may be a token: better a marker in vain than none
# Blocks that can carry a marker; thoughts cannot.
_CARRIERS = frozenset(
    {"text", "image", "document", "search_result", "tool_use", "tool_result", "server_tool_use"}
)


def worthwhile(model: str, size: int) -> bool:
    """Whether a prompt of ``size`` bytes may be long enough to be kept."""
    fitting = [(exactness((pattern,), model), least) for pattern, least in LEAST.items()]
    return size >= BYTES * max(fitting)[1]


def marked(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """The request with markers; None where it has some already, or no place for any."""
    if _has_any(fields):
        return None
    out = dict(fields)
    found = False
    tools, system, messages = (fields.get(name) for name in ("tools", "system", "messages"))
    if isinstance(tools, list):
        # One that is loaded later is no part of the beginning.
        places = [n for n, t in enumerate(tools) if _is(t) and not t.get("defer_loading")]
        if places:
            out["tools"] = _with(tools, places[-1])
            found = True
    if (blocks := _ended(system)) is not None:
        out["system"] = blocks
        found = True
    if isinstance(messages, list):
        users = [n for n, m in enumerate(messages) if _is(m) and m.get("role") == "user"]
        last = len(messages) - 1
        wanted = {last, *[n for n in users if n < last][-1:]}
        changed = list(messages)
        for place in wanted:
            message = messages[place] if place >= 0 else None
            if _is(message) and (blocks := _ended(message.get("content"))) is not None:
                changed[place] = {**message, "content": blocks}
                found = True
        out["messages"] = changed
    return out if found else None


def _ended(content: object) -> list[Any] | None:
    """A content with a marker at its end; None where nothing in it can carry one."""
    if isinstance(content, str):
        return [{"type": "text", "text": content, "cache_control": MARKER}] if content else None
    if not isinstance(content, list):
        return None
    places = [
        n
        for n, block in enumerate(content)
        if _is(block) and block.get("type") in _CARRIERS and block.get("text") != ""
    ]
    return _with(content, places[-1]) if places else None


def _with(items: list[Any], place: int) -> list[Any]:
    return [*items[:place], {**items[place], "cache_control": MARKER}, *items[place + 1 :]]


def _has_any(fields: Mapping[str, Any]) -> bool:
    if "cache_control" in fields:
        return True
    messages = fields.get("messages")
    contents = [m.get("content") for m in messages if _is(m)] if isinstance(messages, list) else []
    return any(_marks(blocks) for blocks in (fields.get("system"), fields.get("tools"), *contents))


def _marks(blocks: object) -> bool:
    return isinstance(blocks, list) and any(
        _is(block) and ("cache_control" in block or _marks(block.get("content")))
        for block in blocks
    )


def _is(item: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(item, dict)
