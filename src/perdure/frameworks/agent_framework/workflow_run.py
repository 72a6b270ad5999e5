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
from agent_framework import Content, WorkflowEvent, WorkflowRunResult

from perdure import codec
from perdure.codec import canonical
from perdure.core.digest import digest
from perdure.core.ports import current_boundary
from perdure.core.record import Kind
from perdure.errors import InvalidInput, PerdureError, UsageError
from perdure.frameworks.agent_framework.requests import answer, question
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
    result = await _pass(workflow, attempt, message=message)
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
        result = await _pass(workflow, attempt, responses=responses)
    return [plain(output) for output in result.get_outputs()]


async def _pass(workflow: Any, attempt: Attempt, **given: Any) -> WorkflowRunResult:
    """To the end, or to where every executor waits for information."""
    stream = workflow.run(stream=True, **given)
    async for event in stream:
        _tell(attempt, event)
    result: WorkflowRunResult = await stream.get_final_response()
    return result


# -- events ---------------------------------------------------------------------------------------


def _tell(attempt: Attempt, event: WorkflowEvent[Any]) -> None:
    if current_boundary.get() is None:
        return
    if event.type == "executor_completed":
        _note(attempt, "state", {"name": event.executor_id, "path": event.executor_id}, event.data)
    elif event.type == "handoff_sent":
        sent = event.data
        _note(attempt, "agent", {"from": sent.source, "to": sent.target})
    elif event.type == "data" and not _is_message(event.data):
        _note(attempt, "custom", {"name": event.executor_id, "data": plain(event.data)})


def _is_message(data: Any) -> bool:
    """Pieces of an agent's answer, which are told of where they come from the model."""
    return type(data).__name__ in ("AgentResponseUpdate", "AgentResponse")


def _note(attempt: Attempt, name: str, event: dict[str, Any], update: Any = None) -> None:
    if name == "state":
        data = canonical(plain(update))
        event["update"] = (
            orjson.loads(data) if len(data) <= MAX_UPDATE else {"omitted_bytes": len(data)}
        )
    value = orjson.dumps(event)
    attempt.note(attempt.named_place(f"events/{name}"), Kind.EMIT, name, digest(value), value)


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


def _said(wanted: Any) -> str:
    return wanted.__name__ if isinstance(wanted, type) else str(wanted)
