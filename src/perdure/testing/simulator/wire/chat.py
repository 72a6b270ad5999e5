"""OpenAI Chat Completions: ``POST /v1/chat/completions``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from perdure.testing.simulator.answer import Answer, pieces
from perdure.testing.simulator.call import Message, Other, Part, Text, Tool, ToolCall, ToolResult
from perdure.testing.simulator.faults import Fault
from perdure.testing.simulator.tokens import ident
from perdure.testing.simulator.wire.base import (
    Question,
    WireError,
    event,
    expect_model,
    expect_pairs,
)  # fmt: skip
from perdure.testing.simulator.wire.openai import OpenAIErrors, arguments, text_of

__all__ = ["ChatWire"]

_FINISH = {"stop": "stop", "length": "length", "tool": "tool_calls", "filter": "content_filter"}
_PAIRS = {
    "call": "An assistant message with 'tool_calls' must be followed by tool messages responding "
    "to each 'tool_call_id'. The following tool_call_ids did not have response messages: {id}",
    "result": "Invalid parameter: messages with role 'tool' must be a response to a preceding "
    "message with 'tool_calls'. tool_call_id: {id}",
}


class ChatWire(OpenAIErrors):
    """See ``Wire``."""

    format = "chat"
    path = "/v1/chat/completions"

    def read(self, body: Mapping[str, Any], past: tuple[Message, ...]) -> Question:
        """See ``Wire``."""
        expect_model(body)
        raw = body.get("messages")
        if not isinstance(raw, list) or not raw:
            raise WireError(400, "Missing required parameter: 'messages'.", param="messages")
        if body.get("n") not in (None, 1):
            raise WireError(400, "The simulator gives one choice only: n must be 1.", param="n")
        messages: list[Message] = list(past)
        for at, item in enumerate(raw):
            message = _message(item, at)
            if message.role == "tool" and messages and messages[-1].role == "tool":
                messages[-1] = Message("tool", messages[-1].parts + message.parts)
            else:
                messages.append(message)
        expect_pairs(tuple(messages), _PAIRS, adjacent=True)
        system = "\n".join(m.text for m in messages if m.role == "system")
        return Question(tuple(messages), _tools(body.get("tools") or ()), system)

    def whole(self, answer: Answer) -> dict[str, Any]:
        """See ``Wire``."""
        message: dict[str, Any] = {
            "role": "assistant", "content": answer.text or (None if answer.asked else ""),
            "refusal": None, "annotations": [],
        }  # fmt: skip
        if answer.asked:
            message["tool_calls"] = [
                {"id": _call_id(answer, at), "type": "function",
                 "function": {"name": use.name, "arguments": use.json}}
                for at, use in enumerate(answer.asked)
            ]  # fmt: skip
        choice = {"index": 0, "message": message, "logprobs": None}
        return {
            **_envelope(answer, "chat.completion"),
            "choices": [{**choice, "finish_reason": _FINISH[answer.finish]}],
            "usage": _usage(answer),
        }

    def stream(self, answer: Answer) -> Iterator[bytes]:
        """See ``Wire``. The usage comes only if ``stream_options.include_usage`` asks for it."""
        options = answer.call.body.get("stream_options") or {}
        counted = bool(options.get("include_usage"))
        head = _envelope(answer, "chat.completion.chunk")
        if counted:
            head["usage"] = None

        def chunk(delta: dict[str, Any], finish: str | None = None, said: str = "") -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return event(None, {**head, "choices": [choice]}, said=said)

        yield chunk({"role": "assistant", "content": None if answer.asked else "", "refusal": None})
        for piece in pieces(answer.text, answer.chunk):
            yield chunk({"content": piece}, said=piece)
        for at, use in enumerate(answer.asked):
            named = {"index": at, "id": _call_id(answer, at), "type": "function"}
            opening = {**named, "function": {"name": use.name, "arguments": ""}}
            yield chunk({"tool_calls": [opening]}, said=use.name)
            for piece in pieces(use.json, answer.chunk):
                delta = {"tool_calls": [{"index": at, "function": {"arguments": piece}}]}
                yield chunk(delta, said=piece)
        yield chunk({}, _FINISH[answer.finish])
        if counted:
            yield event(None, {**head, "choices": [], "usage": _usage(answer)})
        yield b"data: [DONE]\n\n"

    def error_event(self, fault: Fault, sequence: int) -> bytes:
        """See ``Wire``."""
        return event(
            None, self.error(WireError(self.overloaded, fault.message, type=fault.type), "")
        )

    def remember(self, answer: Answer) -> tuple[str, tuple[Message, ...]] | None:
        """See ``Wire``. This API keeps nothing."""
        return None


def _call_id(answer: Answer, at: int) -> str:
    return ident("call_", answer.call.digest, answer.call.occurrence, at)


def _envelope(answer: Answer, kind: str) -> dict[str, Any]:
    call = answer.call
    return {
        "id": ident("chatcmpl-", call.digest, call.occurrence), "object": kind,
        "created": answer.created, "model": call.model, "service_tier": "default",
        "system_fingerprint": "fp_simulator",
    }  # fmt: skip


def _usage(answer: Answer) -> dict[str, Any]:
    usage = answer.usage
    return {
        "prompt_tokens": usage.input, "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    }  # fmt: skip


def _message(item: Any, at: int) -> Message:
    role = item.get("role") if isinstance(item, dict) else None
    content = item.get("content") if isinstance(item, dict) else None
    if role in ("system", "developer"):
        return Message("system", (Text(text_of(content)),))
    if role == "tool":
        return Message("tool", (ToolResult(str(item.get("tool_call_id")), text_of(content)),))
    if role not in ("user", "assistant"):
        raise WireError(400, f"Invalid value: {role!r} for messages[{at}].role.", param="messages")
    parts: list[Part] = []
    if isinstance(content, str):
        parts.append(Text(content))
    for block in content if isinstance(content, list) else ():
        parts.append(Text(block["text"]) if "text" in block else Other(str(block.get("type"))))
    for call in item.get("tool_calls") or () if role == "assistant" else ():
        kind = call.get("function") or {}
        args = arguments(kind.get("arguments"))
        parts.append(ToolCall(str(call.get("id")), str(kind.get("name")), args))
    return Message(role, tuple(parts))


def _tools(raw: Any) -> tuple[Tool, ...]:
    tools = []
    for item in raw:
        made = item.get("function") or item.get("custom") or {}
        schema = made.get("parameters") or {}
        tools.append(Tool(str(made.get("name")), made.get("description") or "", schema))
    return tuple(tools)
