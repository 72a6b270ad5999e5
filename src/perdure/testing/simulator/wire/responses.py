"""OpenAI Responses: ``POST /v1/responses``, with ``previous_response_id``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
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

__all__ = ["ResponsesWire"]

_PAIRS = {
    "call": "No tool output found for function call {id}.",
    "result": "No tool call found for function call output with call_id {id}.",
}
_INCOMPLETE = {"length": "max_output_tokens", "filter": "content_filter"}
# Keys that a response always carries; the request's value or this default.
_ECHOED: Mapping[str, Any] = {
    "background": False, "conversation": None, "frequency_penalty": 0.0, "instructions": None,
    "max_output_tokens": None, "max_tool_calls": None, "metadata": {}, "parallel_tool_calls": True,
    "presence_penalty": 0.0, "previous_response_id": None, "prompt_cache_key": None,
    "prompt_cache_retention": None, "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None, "store": True, "temperature": 1.0,
    "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_logprobs": 0,
    "top_p": 1.0, "truncation": "disabled", "user": None,
}  # fmt: skip


class ResponsesWire(OpenAIErrors):
    """See ``Wire``."""

    format = "responses"
    path = "/v1/responses"

    def read(self, body: Mapping[str, Any], past: tuple[Message, ...]) -> Question:
        """See ``Wire``."""
        expect_model(body)
        for field in ("conversation", "prompt"):
            if body.get(field) is not None:
                raise WireError(400, f"The simulator does not know '{field}'.", param=field)
        if body.get("background"):
            raise WireError(400, "The simulator does not do background mode.", param="background")
        raw = body.get("input")
        messages = list(past)
        if isinstance(raw, str):
            messages.append(Message("user", (Text(raw),)))
        elif isinstance(raw, list) and raw and all(isinstance(item, dict) for item in raw):
            _gather(raw, messages)
        else:
            raise WireError(400, "Missing required parameter: 'input'.", param="input")
        expect_pairs(tuple(messages), _PAIRS, adjacent=False)
        said = [str(body["instructions"])] if body.get("instructions") else []
        said += [m.text for m in messages if m.role == "system"]
        tools = tuple(
            Tool(str(t["name"]), t.get("description") or "", t.get("parameters") or {})
            for t in body.get("tools") or ()
            if t.get("name")
        )
        return Question(tuple(messages), tools, "\n".join(said))

    def whole(self, answer: Answer) -> dict[str, Any]:
        """See ``Wire``."""
        response = self._envelope(answer)
        reason = _INCOMPLETE.get(answer.finish)
        response["status"] = "completed" if reason is None else "incomplete"
        response["incomplete_details"] = None if reason is None else {"reason": reason}
        response["completed_at"] = answer.created
        response["output"] = _output(answer)
        response["usage"] = _usage(answer)
        return response

    def stream(self, answer: Answer) -> Iterator[bytes]:
        """See ``Wire``."""
        number = count()

        def say(kind: str, words: str = "", **data: Any) -> bytes:
            told = {"type": kind, "sequence_number": next(number), **data}
            return event(kind, told, said=words)

        begun = {**self._envelope(answer), "status": "in_progress"}
        yield say("response.created", response=begun)
        yield say("response.in_progress", response=begun)
        whole = self.whole(answer)
        for index, item in enumerate(whole["output"]):
            of_item = {"item_id": item["id"], "output_index": index}
            is_text = item["type"] == "message"
            empty: dict[str, Any] = {"content": []} if is_text else {"arguments": ""}
            opening = {**item, **empty, "status": "in_progress"}
            named = "" if is_text else item["name"]
            yield say("response.output_item.added", named, output_index=index, item=opening)
            if is_text:
                of_part = {**of_item, "content_index": 0}
                (part,) = item["content"]
                yield say("response.content_part.added", **of_part, part={**part, "text": ""})
                for piece in pieces(answer.text, answer.chunk):
                    words = {"delta": piece, "logprobs": []}
                    yield say("response.output_text.delta", piece, **of_part, **words)
                done = {**of_part, "text": answer.text, "logprobs": []}
                yield say("response.output_text.done", **done)
                yield say("response.content_part.done", **of_part, part=part)
            else:
                kind = "response.function_call_arguments"
                for piece in pieces(item["arguments"], answer.chunk):
                    yield say(f"{kind}.delta", piece, **of_item, delta=piece)
                done = {**of_item, "name": item["name"], "arguments": item["arguments"]}
                yield say(f"{kind}.done", **done)
            yield say("response.output_item.done", output_index=index, item=item)
        yield say(f"response.{whole['status']}", response=whole)

    def error_event(self, fault: Fault, sequence: int) -> bytes:
        """See ``Wire``."""
        refusal = WireError(self.overloaded, fault.message, type=fault.type)
        error = self.error(refusal, "")["error"]
        data = {"code": error["code"] or error["type"], "message": error["message"], "param": None}
        return event("error", {"type": "error", "sequence_number": sequence, **data})

    def remember(self, answer: Answer) -> tuple[str, tuple[Message, ...]] | None:
        """See ``Wire``. Nothing when the request says ``store: false``."""
        call = answer.call
        if call.body.get("store") is False:
            return None
        parts: list[Part] = [Text(answer.text)] if answer.text else []
        for at, use in enumerate(answer.asked):
            ident_ = ident("call_", call.digest, call.occurrence, at)
            parts.append(ToolCall(ident_, use.name, dict(use.args)))
        messages = (*call.messages, Message("assistant", tuple(parts)))
        return ident("resp_", call.digest, call.occurrence), messages

    def _envelope(self, answer: Answer) -> dict[str, Any]:
        call = answer.call
        body = call.body
        echoed = {
            key: default if body.get(key) is None else body[key] for key, default in _ECHOED.items()
        }
        return {
            "id": ident("resp_", call.digest, call.occurrence), "object": "response",
            "created_at": answer.created, "completed_at": None, "status": None, "error": None,
            "incomplete_details": None, "model": call.model, "output": [], "usage": None,
            "service_tier": "default", **echoed,
        }  # fmt: skip


def _output(answer: Answer) -> list[dict[str, Any]]:
    call = answer.call
    status = "incomplete" if answer.finish in _INCOMPLETE else "completed"
    items: list[dict[str, Any]] = []
    if answer.text or not answer.asked:
        part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
        named = {"id": ident("msg_", call.digest, call.occurrence), "type": "message"}
        items.append({**named, "status": status, "role": "assistant", "content": [part]})
    for at, use in enumerate(answer.asked):
        items.append({
            "id": ident("fc_", call.digest, call.occurrence, at), "type": "function_call",
            "status": status, "call_id": ident("call_", call.digest, call.occurrence, at),
            "name": use.name, "arguments": use.json,
        })  # fmt: skip
    return items


def _usage(answer: Answer) -> dict[str, Any]:
    usage = answer.usage
    cached = {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write}
    return {
        "input_tokens": usage.input, "input_tokens_details": cached,
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }  # fmt: skip


def _gather(items: list[dict[str, Any]], messages: list[Message]) -> None:
    """Items into messages. What one response put out is one assistant message: calls join the
    message, reasoning or calls right before them; a message joins reasoning or calls, but opens a
    turn of its own after another message."""
    said = False  # the open assistant turn has its words
    for item in items:
        kind = item.get("type", "message")
        role = item.get("role")
        if kind == "function_call_output":
            part = ToolResult(str(item.get("call_id")), text_of(item.get("output")))
            _join(messages, "tool", part)
            continue
        if kind == "function_call":
            args = arguments(item.get("arguments"))
            part_: Part = ToolCall(str(item.get("call_id")), str(item.get("name")), args)
        elif kind == "message":
            part_ = Text(text_of(item.get("content")))
            if role != "assistant":
                if role not in ("user", "system", "developer"):
                    raise WireError(400, f"Invalid value: {role!r}.", param="input")
                messages.append(Message("user" if role == "user" else "system", (part_,)))
                continue
        else:
            part_ = Other(str(kind))
        if not messages or messages[-1].role != "assistant":
            said = False
        if kind == "message" and said:
            messages.append(Message("assistant", (part_,)))
        else:
            _join(messages, "assistant", part_)
        said = said or kind == "message"


def _join(messages: list[Message], role: Any, part: Part) -> None:
    if messages and messages[-1].role == role:
        messages[-1] = Message(role, (*messages[-1].parts, part))
    else:
        messages.append(Message(role, (part,)))
