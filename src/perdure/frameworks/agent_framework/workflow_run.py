"""One attempt at a run of a workflow.

A workflow's executors keep state between runs, so each attempt has a workflow of its own, a copy
of the one that was handed over, and starts from the run's input; the journal answers what was done
before. Supersteps come in the same order in every attempt: messages of parallel executors are
handed on by the executors' names (``patch``).
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson
from agent_framework import (
    AgentResponse,
    AgentResponseUpdate,
    Content,
    WorkflowEvent,
    WorkflowRunResult,
)
from pydantic import TypeAdapter

from perdure import codec
from perdure.codec import canonical
from perdure.core.digest import digest
from perdure.core.ports import current_boundary
from perdure.core.record import Kind
from perdure.errors import InvalidInput, PerdureError, UsageError
from perdure.frameworks.agent_framework.requests import answer, question
from perdure.frameworks.agent_framework.shapes import input_schema as agent_schema
from perdure.frameworks.agent_framework.shapes import read_messages
from perdure.frameworks.plain import plain
from perdure.frameworks.questions import Question, ask

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt

MAX_UPDATE = 32 * 1024  # bytes; of a larger update the event tells only the size


async def run_workflow(make: Callable[[], Any], attempt: Attempt, value: Any) -> list[Any]:
    """The workflow's outputs for the run's input, as JSON values."""
    workflow = make()
    message = read_message(workflow, value, agent=attempt.agent_name)
    outputs = Outputs()
    result = await _pass(workflow, attempt, outputs, message=message)
    while requests := result.get_request_info_events():
        if current_boundary.get() is None:
            raise UsageError(
                f"The workflow of agent {attempt.agent_name!r} asks for information, and with "
                "durability='none' nothing is kept that could go on with an answer.",
                hint="Leave durability at its default for workflows that ask.",
            )
        named = _named(requests, attempt.agent_name)
        answers = await ask(attempt, list(named.values()))
        responses = {
            request.request_id: _response(request, answers[named[request.request_id].id])
            for request in requests
        }
        result = await _pass(workflow, attempt, outputs, responses=responses)
    return [plain(output) for output in outputs.all()]


async def _pass(
    workflow: Any, attempt: Attempt, outputs: Outputs, **given: Any
) -> WorkflowRunResult:
    """To the end, or to where every executor waits for information. Streamed, so that tokens are
    told of as they come."""
    stream = workflow.run(stream=True, **given)
    async for event in stream:
        outputs.take(event)
        _tell(attempt, event)
    result: WorkflowRunResult = await stream.get_final_response()
    return result


class Outputs:
    """What a workflow gives out. Where it streams, agents give pieces: they become responses, as
    a workflow that does not stream gives them."""

    def __init__(self) -> None:
        self._all: list[Any] = []
        self._pieces: dict[str | None, list[AgentResponseUpdate]] = {}

    def take(self, event: WorkflowEvent[Any]) -> None:
        if event.type == "output":
            if isinstance(event.data, AgentResponseUpdate):
                self._pieces.setdefault(event.executor_id, []).append(event.data)
            else:
                self._all.append(event.data)
        elif event.type == "executor_completed" and event.executor_id in self._pieces:
            self._all.append(AgentResponse.from_updates(self._pieces.pop(event.executor_id)))

    def all(self) -> list[Any]:
        """In the order in which executors finished."""
        rest = [AgentResponse.from_updates(pieces) for pieces in self._pieces.values()]
        return [*self._all, *rest]


# -- events ---------------------------------------------------------------------------------------


def _tell(attempt: Attempt, event: WorkflowEvent[Any]) -> None:
    if current_boundary.get() is None:
        return
    name = event.executor_id or ""
    if event.type == "executor_completed":
        about = {"name": name, "path": name, "update": _update(event.data)}
        # By the executor alone: what it gave holds ids that are others in a replay.
        _note(attempt, "state", digest(name.encode()), about)
    elif event.type == "handoff_sent":
        about = {"from": event.data.source, "to": event.data.target}
        _note(attempt, "agent", digest(canonical(about)), about)
    elif event.type == "data" and not isinstance(event.data, AgentResponseUpdate | AgentResponse):
        about = {"name": name, "data": plain(event.data)}
        _note(attempt, "custom", digest(canonical(about)), about)


def _update(sent: Any) -> Any:
    """What an executor sent and gave out, without the pieces of answers."""
    items = sent if isinstance(sent, list) else [] if sent is None else [sent]
    update = plain([item for item in items if not isinstance(item, AgentResponseUpdate)])
    size = len(canonical(update))
    return update if size <= MAX_UPDATE else {"omitted_bytes": size}


def _note(attempt: Attempt, name: str, key: bytes, about: dict[str, Any]) -> None:
    place = attempt.named_place(f"events/{name}")
    attempt.note(place, Kind.EMIT, name, key, orjson.dumps(about))


# -- requests for information ---------------------------------------------------------------------


def _named(requests: list[WorkflowEvent[Any]], agent: str) -> dict[str, Question]:
    """Questions by Agent Framework's ids, which are random; ours are of what is asked and where."""
    named: dict[str, Question] = {}
    taken: set[str] = set()
    for request in requests:
        data = request.data
        if isinstance(data, Content):
            found = question(data, agent=agent)
        else:
            source = request.source_executor_id
            content = f"{source}\0".encode() + canonical(plain(data))
            name = blake2b(content, digest_size=16).hexdigest()
            found = Question(name, {"kind": "request", "executor": source, "value": plain(data)})
        name, n = found.id, 1
        while name in taken:
            n += 1
            name = f"{found.id}#{n}"
        taken.add(name)
        named[request.request_id] = Question(name, found.about)
    return named


def _response(request: WorkflowEvent[Any], payload: Any) -> Any:
    """The answer as what the executor expects."""
    if isinstance(request.data, Content):
        return answer(request.data, payload)
    return _typed(payload, request.response_type)


def _typed(value: Any, annotation: Any) -> Any:
    if annotation in (None, Any, object):
        return value
    return codec.decode(codec.encode(value), annotation, what="answer to a request")


# -- input ----------------------------------------------------------------------------------------


def read_message(workflow: Any, value: Any, *, agent: str) -> Any:
    """The message that starts the workflow: what its first executor takes. Raises InvalidInput."""
    types = list(getattr(workflow, "input_types", None) or ())
    if not types:
        return value
    for wanted in types:
        if isinstance(wanted, type) and type(value) is wanted:
            return value
    if "Message" in str(types) and isinstance(value, dict | list):
        return read_messages(value, agent=agent)
    for wanted in types:
        try:
            read = _typed(value, wanted)
        except (PerdureError, TypeError, ValueError):
            continue
        if not isinstance(wanted, type) or isinstance(read, wanted):
            return read
    raise InvalidInput(
        f"The workflow of agent {agent!r} does not start with this.",
        hint=f"It takes: {', '.join(_said(t) for t in types)}",
    )


def message_schema(workflow: Any) -> dict[str, Any] | None:
    """JSON Schema of what starts the workflow; None where its types have none."""
    types = list(getattr(workflow, "input_types", None) or ())
    if not types:
        return None
    if "Message" in str(types):
        return agent_schema()
    try:
        schemas = [TypeAdapter(wanted).json_schema() for wanted in types]
    except Exception:  # a type without a schema
        return None
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _said(wanted: Any) -> str:
    return wanted.__name__ if isinstance(wanted, type) else str(wanted)
