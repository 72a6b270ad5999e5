"""Anthropic Messages: ``POST /v1/messages``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from perdure.testing.simulator.answer import Answer, pieces
from perdure.testing.simulator.call import (
    Message,
    Other,
    Part,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)  # fmt: skip
from perdure.testing.simulator.faults import Fault
from perdure.testing.simulator.quota.turnstile import Level, Limited
from perdure.testing.simulator.tokens import ident
from perdure.testing.simulator.wire.base import (
    Question,
    WireError,
    event,
    expect_model,
    expect_pairs,
)  # fmt: skip

__all__ = ["AnthropicWire"]

_FINISH = {"stop": "end_turn", "length": "max_tokens", "tool": "tool_use", "filter": "refusal"}
# Status -> type and usual message. Source: docs.claude.com, "Errors".
_ERRORS = {
    400: ("invalid_request_error", "The request is invalid."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "There is an issue with your billing."),
    403: ("permission_error", "Your API key does not have permission to use this resource."),
    404: ("not_found_error", "The requested resource was not found."),
    413: ("request_too_large", "Request exceeds the maximum size."),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "The request timed out."),
    529: ("overloaded_error", "Overloaded"),
}
_PAIRS = {
    "call": "`tool_use` ids were found without `tool_result` blocks immediately after: {id}. Each "
    "`tool_use` block must have a corresponding `tool_result` block in the next message.",
    "result": "unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` "
    "block must have a corresponding `tool_use` block in the previous message.",
}


class AnthropicWire:
    """See ``Wire``."""

    format = "anthropic"
    path = "/v1/messages"
    overloaded = 529

    def told(self, path: str) -> Mapping[str, Any]:
        """See ``Wire``."""
        return {}

    def read(self, body: Mapping[str, Any], past: tuple[Message, ...]) -> Question:
        """See ``Wire``."""
        expect_model(body)
        if not isinstance(body.get("max_tokens"), int):
            raise WireError(400, "max_tokens: Field required")
        raw = body.get("messages")
        if not isinstance(raw, list) or not raw:
            raise WireError(400, "messages: at least one message is required")
        messages: list[Message] = list(past)
        for at, item in enumerate(raw):
            role = item.get("role") if isinstance(item, dict) else None
            if role not in ("user", "assistant", "system"):
                raise WireError(400, f"messages.{at}.role: Input should be 'user' or 'assistant'")
            messages += _messages(role, item.get("content"), at)
        expect_pairs(tuple(messages), _PAIRS, adjacent=True)
        tools = tuple(
            Tool(str(t.get("name", "")), t.get("description") or "", t.get("input_schema") or {})
            for t in body.get("tools") or ()
        )
        return Question(tuple(messages), tools, _text(body.get("system")))

    def whole(self, answer: Answer) -> dict[str, Any]:
        """See ``Wire``."""
        call = answer.call
        content: list[dict[str, Any]] = []
        if answer.text or not answer.asked:
            content.append({"type": "text", "text": answer.text, "citations": None})
        for at, use in enumerate(answer.asked):
            block = {"type": "tool_use", "id": ident("toolu_", call.digest, call.occurrence, at)}
            content.append({**block, "name": use.name, "input": use.args})
        return {
            **_envelope(answer), "content": content, "stop_reason": _FINISH[answer.finish],
            "usage": _usage(answer, answer.usage.output),
        }  # fmt: skip

    def stream(self, answer: Answer) -> Iterator[bytes]:
        """See ``Wire``."""
        whole = self.whole(answer)
        start = {**whole, "content": [], "stop_reason": None, "usage": _usage(answer, 1)}
        yield event("message_start", {"type": "message_start", "message": start})
        yield event("ping", {"type": "ping"})
        asked = iter(answer.asked)
        for at, block in enumerate(whole["content"]):
            if block["type"] == "text":
                opening = {**block, "text": ""}
                deltas = (
                    {"type": "text_delta", "text": s} for s in pieces(answer.text, answer.chunk)
                )
            else:
                opening = {**block, "input": {}}
                deltas = (
                    {"type": "input_json_delta", "partial_json": piece}
                    for piece in ("", *pieces(next(asked).json, answer.chunk))
                )
            place = {"index": at}
            start_event = {"type": "content_block_start", **place, "content_block": opening}
            yield event("content_block_start", start_event, said=block.get("name", ""))
            for delta in deltas:
                data = {"type": "content_block_delta", **place, "delta": delta}
                said = delta.get("text") or delta.get("partial_json") or ""
                yield event("content_block_delta", data, said=said)
            yield event("content_block_stop", {"type": "content_block_stop", **place})
        end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        usage = {k: v for k, v in whole["usage"].items() if k in _DELTA_USAGE}
        yield event("message_delta", {"type": "message_delta", "delta": end, "usage": usage})
        yield event("message_stop", {"type": "message_stop"})

    def error(self, error: WireError, request_id: str) -> dict[str, Any]:
        """See ``Wire``."""
        kind, words = _ERRORS.get(error.http_status, ("api_error", f"HTTP {error.http_status}"))
        body = {"type": error.type or kind, "message": error.words or words}
        return {"type": "error", "error": body, "request_id": request_id}

    def error_event(self, fault: Fault, sequence: int) -> bytes:
        """See ``Wire``."""
        kind, words = _ERRORS[self.overloaded]
        error = {"type": fault.type or kind, "message": fault.message or words}
        return event("error", {"type": "error", "error": error})

    def ids(self, digest: str, occurrence: int) -> dict[str, str]:
        """See ``Wire``."""
        return {"request-id": ident("req_", digest, occurrence)}

    def exhausted(self, retry_after: float, now: float) -> dict[str, str]:
        """See ``Wire``. Reset times are RFC 3339."""
        at = datetime.fromtimestamp(now, UTC) + timedelta(seconds=retry_after)
        reset = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        headers = {}
        for meter, limit in (("requests", 50), ("input-tokens", 30000), ("output-tokens", 8000)):
            headers[f"anthropic-ratelimit-{meter}-limit"] = str(limit)
            headers[f"anthropic-ratelimit-{meter}-remaining"] = "0"
            headers[f"anthropic-ratelimit-{meter}-reset"] = reset
        return headers

    def levels(self, levels: Mapping[str, Level], now: float) -> dict[str, str]:
        """See ``Wire``. Tokens that remain are rounded to thousands. Source: docs.claude.com,
        "Rate limits"."""
        headers = {}
        for what, level in levels.items():
            name = _METERS.get(what)
            if name is None:
                continue
            left = level.remaining
            reset = datetime.fromtimestamp(math.ceil(now + level.full_in), UTC)
            headers[f"anthropic-ratelimit-{name}-limit"] = f"{level.amount:.0f}"
            headers[f"anthropic-ratelimit-{name}-remaining"] = str(
                int(left) if what == "requests" else round(left / 1000) * 1000
            )
            headers[f"anthropic-ratelimit-{name}-reset"] = reset.strftime("%Y-%m-%dT%H:%M:%SZ")
        return headers

    def limited(self, limited: Limited, model: str) -> WireError:
        """See ``Wire``."""
        limit = limited.limit
        if limit.what == "concurrent":
            return WireError(
                429,
                "Number of concurrent connections has exceeded your rate limit. Please try again "
                "later or contact sales to discuss your options for a rate limit increase.",
            )
        words = {"requests": "requests", "tokens": "tokens"}.get(limit.what, f"{limit.what} tokens")
        span = {60.0: "per minute", 86400.0: "per day"}.get(limit.per, f"per {limit.per:g} seconds")
        return WireError(
            429,
            "This request would exceed your organization's rate limit of "
            f"{limit.amount:,.0f} {words} {span} (model: {model}). You can see the response "
            "headers for current usage. Please reduce the prompt length or the maximum tokens "
            "requested, or try again later.",
        )

    def remember(self, answer: Answer) -> tuple[str, tuple[Message, ...]] | None:
        """See ``Wire``. This API keeps nothing."""
        return None


_METERS = {
    "requests": "requests", "tokens": "tokens", "input": "input-tokens", "output": "output-tokens",
}  # fmt: skip
_DELTA_USAGE = {
    "input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens",
    "output_tokens_details",
}  # fmt: skip


def _envelope(answer: Answer) -> dict[str, Any]:
    call = answer.call
    return {
        "id": ident("msg_", call.digest, call.occurrence), "type": "message", "role": "assistant",
        "model": call.model, "stop_sequence": None,
    }  # fmt: skip


def _usage(answer: Answer, output: int) -> dict[str, Any]:
    usage = answer.usage
    counted: dict[str, Any] = {
        # This API counts cached tokens beside input_tokens, not within.
        "input_tokens": usage.input - usage.cache_read - usage.cache_write,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": output,
        "service_tier": "standard",
    }
    if usage.reasoning:
        counted["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return counted


def _messages(role: Role, content: Any, at: int) -> list[Message]:
    """A user message with tool results becomes a ``tool`` message and, for its words, another."""
    if isinstance(content, str):
        return [Message(role, (Text(content),))]
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise WireError(400, f"messages.{at}.content: Input should be a valid string or list")
    parts = [_part(block) for block in content]
    results = tuple(part for part in parts if isinstance(part, ToolResult))
    if not results:
        return [Message(role, tuple(parts))]
    rest = tuple(part for part in parts if not isinstance(part, ToolResult))
    return [Message("tool", results), *([Message(role, rest)] if rest else [])]


def _part(block: Mapping[str, Any]) -> Part:
    kind = str(block.get("type"))
    if kind == "text":
        return Text(str(block.get("text", "")))
    if kind == "tool_use":
        return ToolCall(str(block.get("id")), str(block.get("name")), block.get("input") or {})
    if kind == "tool_result":
        error = bool(block.get("is_error"))
        return ToolResult(str(block.get("tool_use_id")), _text(block.get("content")), error)
    return Other(kind)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [b.get("text", "") for b in content if isinstance(b, dict) and b.get("type") == "text"]
    return "\n".join(texts)
