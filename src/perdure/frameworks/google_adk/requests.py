"""What an agent asks its user: long-running tools, tools that want to be confirmed, requests for
input.

ADK ends its turn with calls that are marked as long-running, and goes on when it is given a
function response with the call's id. Each is a question (``perdure.frameworks.questions``). The
answer to a confirmation is true, false, or ADK's ``{"confirmed": bool, "payload": ...}``; the
answer to anything else is the response itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.adk.events.event import Event
from google.genai import types

from perdure.codec import canonical
from perdure.errors import UsageError
from perdure.frameworks.plain import plain
from perdure.frameworks.questions import Question

CONFIRMATION = "adk_request_confirmation"
CREDENTIAL = "adk_request_credential"
INPUT = "adk_request_input"
_DONE = "status"  # a key of a response that says whether the work is over
_OPEN = frozenset({"pending", "in_progress", "in-progress", "running", "waiting", "submitted"})


@dataclass(frozen=True, slots=True)
class Request:
    """A call that waits for its response. ``name`` is the same in every attempt."""

    call: types.FunctionCall
    question: Question


def requests(events: Sequence[Event], taken: set[str], *, agent: str) -> list[Request]:
    """What the events of one turn leave open. ``taken``: names of earlier questions; grows.
    Raises UsageError for what a signal cannot answer."""
    waiting: dict[str, tuple[Event, types.FunctionCall]] = {}
    for event in events:
        marked = event.long_running_tool_ids or set()
        for call in event.get_function_calls():
            if call.id in marked or call.name in (CONFIRMATION, CREDENTIAL, INPUT):
                waiting[call.id or ""] = (event, call)
        for response in event.get_function_responses():
            if _is_final(response.response):
                waiting.pop(response.id or "", None)
    found = [_request(event, call, agent) for event, call in waiting.values()]
    return [Request(r.call, _named(r.question, taken)) for r in found]


def _is_final(response: Any) -> bool:
    """Whether a long-running tool answered at once after all: it says that it is not pending."""
    status = response.get(_DONE) if isinstance(response, dict) else None
    return isinstance(status, str) and status.lower() not in _OPEN


def _request(event: Event, call: types.FunctionCall, agent: str) -> Request:
    args = call.args or {}
    if call.name == CREDENTIAL:
        raise UsageError(
            f"Agent {agent!r} asks its user for credentials, which a signal cannot give.",
            hint="Give the tool its credentials when it is made.",
        )
    if call.name == CONFIRMATION:
        original = args.get("originalFunctionCall") or {}
        told = args.get("toolConfirmation") or {}
        about = {
            "kind": "confirmation",
            "tool": original.get("name"),
            "arguments": plain(original.get("args")),
            "hint": told.get("hint"),
            "payload": plain(told.get("payload")),
        }
    elif call.name == INPUT:
        about = {"kind": "input", "value": {k: v for k, v in plain(args).items() if v is not None}}
        about["value"].pop("interruptId", None)
        about["value"].pop("interrupt_id", None)
    else:
        about = {"kind": "tool", "tool": call.name, "arguments": plain(args)}
    about["agent"] = event.author
    content = digest_of(event.branch, about)
    return Request(call, Question(content, about))


def digest_of(branch: str | None, about: dict[str, Any]) -> str:
    """The name of a question: ADK's own ids are random."""
    from hashlib import blake2b

    content = f"{branch or ''}\0".encode() + canonical(about)
    return blake2b(content, digest_size=16).hexdigest()


def _named(question: Question, taken: set[str]) -> Question:
    name, n = question.id, 1
    while name in taken:
        n += 1
        name = f"{question.id}#{n}"
    taken.add(name)
    return Question(name, question.about)


def answer(request: Request, payload: Any) -> types.Part:
    """What the agent is told."""
    call = request.call
    if call.name == CONFIRMATION and not isinstance(payload, dict):
        payload = {"confirmed": payload is True}
    response = payload if isinstance(payload, dict) else {"result": payload}
    return types.Part(
        function_response=types.FunctionResponse(id=call.id, name=call.name, response=response)
    )
