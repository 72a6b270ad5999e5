"""Google's Gemini API: ``POST …/models/{model}:generateContent`` and ``:streamGenerateContent``,
where the path says which model is asked and whether the answer is streamed; also below Vertex AI's
longer paths. Streams are server-sent events (``alt=sse``, as the SDK asks for)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from perdure.testing.simulator.answer import Answer, pieces
from perdure.testing.simulator.call import (
    Message,
    Other,
    Part,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)  # fmt: skip
from perdure.testing.simulator.faults import Fault
from perdure.testing.simulator.quota.turnstile import Level, Limited
from perdure.testing.simulator.tokens import ident
from perdure.testing.simulator.wire.base import Question, WireError, event, expect_pairs

__all__ = ["PATH", "GoogleWire"]

PATH = re.compile(r"/models/(?P<model>[^/:]+):(?P<op>generateContent|streamGenerateContent)$")
_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool": "STOP", "filter": "SAFETY"}
# Status -> google.rpc.Code and usual message. Source: ai.google.dev, "Troubleshooting".
_ERRORS = {
    400: ("INVALID_ARGUMENT", "The request body is malformed."),
    401: ("UNAUTHENTICATED", "Request is missing required authentication credential."),
    403: ("PERMISSION_DENIED", "Your API key doesn't have the required permissions."),
    404: ("NOT_FOUND", "The requested resource wasn't found."),
    429: ("RESOURCE_EXHAUSTED", "You've exceeded the rate limit."),
    500: ("INTERNAL", "An internal error has occurred."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "The service is unable to finish processing within the deadline."),
}
_PAIRS = dict.fromkeys(
    ("call", "result"),
    "Please ensure that the number of function response parts is equal to the number of function "
    "call parts of the function call turn. ({id})",
)


class GoogleWire:
    """See ``Wire``. ``op`` is the operation that ``path`` ends in."""

    format = "google"
    overloaded = 503

    def __init__(self, op: str) -> None:
        self.path = "/{place:path}/models/{model}:" + op

    def told(self, path: str) -> Mapping[str, Any]:
        """See ``Wire``."""
        found = PATH.search(path)
        if found is None:
            return {}
        return {"model": found["model"], "stream": found["op"] == "streamGenerateContent"}

    def read(self, body: Mapping[str, Any], past: tuple[Message, ...]) -> Question:
        """See ``Wire``."""
        raw = body.get("contents")
        if not isinstance(raw, list) or not raw:
            raise WireError(400, "* GenerateContentRequest.contents: contents is not specified")
        messages: list[Message] = list(past)
        asked: list[ToolCall] = []
        for item in raw:
            for message in _messages(item, asked):
                # Pieces of a streamed answer come back as contents in a row: they are one turn.
                if messages and messages[-1].role == message.role == "assistant":
                    messages[-1] = Message("assistant", messages[-1].parts + message.parts)
                else:
                    messages.append(message)
        expect_pairs(tuple(messages), _PAIRS, adjacent=True)
        system = body.get("systemInstruction") or body.get("system_instruction") or {}
        words = "\n".join(part.get("text", "") for part in system.get("parts") or ())
        return Question(tuple(messages), _tools(body.get("tools") or ()), words)

    def whole(self, answer: Answer) -> dict[str, Any]:
        """See ``Wire``."""
        parts = _parts(answer)
        if answer.text or not parts:
            parts.insert(0, {"text": answer.text})
        return _response(answer, parts, _FINISH[answer.finish], last=True)

    def stream(self, answer: Answer) -> Iterator[bytes]:
        """See ``Wire``. The finish reason comes with the last piece; no event follows it."""
        parts = [{"text": piece} for piece in pieces(answer.text, answer.chunk)]
        parts += _parts(answer)
        parts = parts or [{"text": ""}]
        for part in parts[:-1]:
            yield event(None, _response(answer, [part]), said=_said(part))
        last = _response(answer, parts[-1:], _FINISH[answer.finish], last=True)
        yield event(None, last, said=_said(parts[-1]))

    def error(self, error: WireError, request_id: str) -> dict[str, Any]:
        """See ``Wire``."""
        kind, words = _ERRORS.get(error.http_status, ("UNKNOWN", f"HTTP {error.http_status}"))
        told = {"message": error.words or words, "status": error.type or kind}
        return {"error": {"code": error.http_status, **told}}

    def error_event(self, fault: Fault, sequence: int) -> bytes:
        """See ``Wire``."""
        said = WireError(self.overloaded, fault.message, type=fault.type)
        return event(None, self.error(said, ""))

    def ids(self, digest: str, occurrence: int) -> dict[str, str]:
        """See ``Wire``. The id is in the body."""
        return {}

    def exhausted(self, retry_after: float, now: float) -> dict[str, str]:
        """See ``Wire``. This API tells of its limits in the body alone."""
        return {}

    def levels(self, levels: Mapping[str, Level], now: float) -> dict[str, str]:
        """See ``Wire``. This API tells of its limits in the body alone."""
        return {}

    def limited(self, limited: Limited, model: str) -> WireError:
        """See ``Wire``."""
        limit = limited.limit
        return WireError(
            429,
            "You exceeded your current quota, please check your plan and billing details.\n"
            f"* Quota exceeded for metric: {limit.what}, limit: {limit.amount:.0f}, model: {model}"
            + (f"\nPlease retry in {limited.wait:g}s." if limited.wait < math.inf else ""),
        )

    def remember(self, answer: Answer) -> tuple[str, tuple[Message, ...]] | None:
        """See ``Wire``. This API keeps nothing."""
        return None


def _parts(answer: Answer) -> list[dict[str, Any]]:
    call = answer.call
    return [
        {"functionCall": {"id": ident("call_", call.digest, call.occurrence, at),
                          "name": use.name, "args": use.args}}
        for at, use in enumerate(answer.asked)
    ]  # fmt: skip


def _said(part: Mapping[str, Any]) -> str:
    made = part.get("functionCall")
    if made is None:
        return str(part["text"])
    return str(made["name"]) + orjson.dumps(made["args"]).decode()


def _response(
    answer: Answer, parts: list[dict[str, Any]], finish: str | None = None, *, last: bool = False
) -> dict[str, Any]:
    call, usage = answer.call, answer.usage
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    said = usage.output - usage.reasoning if last else 0
    counted = {
        "promptTokenCount": usage.input, "candidatesTokenCount": said,
        "totalTokenCount": usage.input + (usage.output if last else 0),
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.input}],
    }  # fmt: skip
    if usage.cache_read:
        counted["cachedContentTokenCount"] = usage.cache_read
    if usage.reasoning:
        counted["thoughtsTokenCount"] = usage.reasoning
    return {
        "candidates": [candidate], "usageMetadata": counted, "modelVersion": call.model,
        "responseId": ident("", call.digest, call.occurrence),
    }  # fmt: skip


def _messages(item: Any, asked: list[ToolCall]) -> list[Message]:
    """A user's content with function responses becomes a ``tool`` message and, for the rest,
    another. ``asked`` are the calls so far that have no response yet."""
    role = item.get("role", "user") if isinstance(item, dict) else None
    if role not in ("user", "model", "function"):
        raise WireError(400, "Please use a valid role: user, model.")
    parts = [_part(part, asked) for part in item.get("parts") or ()]
    if not parts:
        raise WireError(400, "* GenerateContentRequest.contents.parts: contents.parts is empty.")
    if role == "model":
        return [Message("assistant", tuple(parts))]
    results = tuple(part for part in parts if isinstance(part, ToolResult))
    rest = tuple(part for part in parts if not isinstance(part, ToolResult))
    return [
        *([Message("tool", results)] if results else []),
        *([Message("user", rest)] if rest else []),
    ]


def _part(part: Mapping[str, Any], asked: list[ToolCall]) -> Part:
    if "text" in part:
        return Other("thought") if part.get("thought") else Text(str(part["text"]))
    if "functionCall" in part:
        made = part["functionCall"]
        name = str(made.get("name"))
        call = ToolCall(str(made.get("id") or f"{name}#{len(asked)}"), name, made.get("args") or {})
        asked.append(call)
        return call
    if "functionResponse" in part:
        given = part["functionResponse"]
        response = given.get("response") or {}
        return ToolResult(_answers(given, asked), _result(response), "error" in response)
    return Other(next(iter(part), "empty"))


def _answers(given: Mapping[str, Any], asked: list[ToolCall]) -> str:
    """The id of the call that a function response belongs to: its own or, since ids are optional
    here, that of the first call of its name without response."""
    for call in asked:
        if call.id == given["id"] if given.get("id") else call.name == given.get("name"):
            asked.remove(call)
            return call.id
    return str(given.get("id") or given.get("name"))


def _result(response: Mapping[str, Any]) -> str:
    """Its text; of a response with one field of the usual names, that field's."""
    value: Any = response
    for usual in ("result", "output", "error"):
        if set(response) == {usual}:
            value = response[usual]
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _tools(raw: Any) -> tuple[Tool, ...]:
    tools = []
    for item in raw:
        for made in item.get("functionDeclarations") or item.get("function_declarations") or ():
            schema = made.get("parametersJsonSchema") or made.get("parameters") or {}
            tools.append(Tool(str(made.get("name")), made.get("description") or "", schema))
    return tuple(tools)
