"""One attempt at a run under ADK's ``Runner``.

Every attempt begins with the session as it was when the run began, in memory, and the journal
answers what was done before. The user's runner is left alone: what runs is a shallow copy with
services of the attempt's own. A session service of the user's that lasts is read once and written
once in a run, as steps.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
from google.adk.agents import run_config
from google.adk.agents.base_agent import BaseAgent
from google.adk.agents.run_config import RunConfig
from google.adk.artifacts.in_memory_artifact_service import InMemoryArtifactService
from google.adk.events.event import Event
from google.adk.runners import Runner
from google.adk.sessions.in_memory_session_service import InMemorySessionService
from google.genai import types

from perdure.codec import canonical
from perdure.core.digest import digest
from perdure.core.ports import current_boundary
from perdure.core.record import Kind
from perdure.errors import UsageError
from perdure.frameworks.google_adk.requests import answer, requests
from perdure.frameworks.google_adk.sessions import RunSessions, load, save
from perdure.frameworks.google_adk.shapes import read_input, write_output
from perdure.frameworks.google_adk.tools import calls
from perdure.frameworks.plain import plain
from perdure.frameworks.questions import ask

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt

MAX_UPDATE = 32 * 1024  # bytes; of a larger update the event tells only the size
USER = "user"
_MODES: Any = run_config.StreamingMode  # type: ignore[attr-defined]  # it is documented there


async def run_agent(runner: Runner, attempt: Attempt, value: Any) -> Any:
    """The runner's answer to the run's input, as JSON values."""
    token = calls.set(Counter())
    try:
        return await _run(runner, attempt, value)
    finally:
        calls.reset(token)


async def _run(runner: Runner, attempt: Attempt, value: Any) -> Any:
    name = attempt.agent_name
    given = read_input(value, agent=name)
    lasting = runner.session_service
    lasts = not isinstance(lasting, InMemorySessionService)
    runner, sessions = _own(runner)
    user = given.user or USER
    lease = attempt.lease
    session_id = given.session.id if given.session else lease.session or lease.run_id
    where: dict[str, Any] = {"app_name": runner.app_name, "user_id": user, "session_id": session_id}
    found = given.session
    if found is None and lasts:
        found = await load(lasting, **where)
    known = len(found.events) if found else 0
    if found is not None:
        found = found.model_copy(update={"app_name": runner.app_name, "user_id": user})
        sessions.adopt(found)
    else:
        await sessions.create_session(**where)
    config = RunConfig(streaming_mode=_streaming(runner))
    message: types.Content = given.message
    state: dict[str, Any] | None = given.state or None
    events: list[Event] = []
    taken: set[str] = set()
    while True:
        turn: list[Event] = []
        async for event in runner.run_async(
            user_id=user, session_id=session_id, new_message=message,
            state_delta=state, run_config=config,
        ):  # fmt: skip
            if not event.partial:
                turn.append(event)
                _tell(attempt, event)
        events += turn
        waiting = requests(turn, taken, agent=name)
        if not waiting:
            break
        if current_boundary.get() is None:
            raise UsageError(
                f"Agent {name!r} asks its user, and with durability='none' nothing is kept that "
                "could go on with an answer.",
                hint="Leave durability at its default for agents that ask.",
            )
        answers = await ask(attempt, [request.question for request in waiting])
        parts = [answer(request, answers[request.question.id]) for request in waiting]
        message, state = types.Content(role="user", parts=parts), None
    session = await sessions.get_session(**where)
    assert session is not None
    if lasts and not given.wants_session:
        await save(lasting, session, known, {})
    return write_output(events, session, given)


def _own(runner: Runner) -> tuple[Runner, RunSessions]:
    """A copy whose services are the attempt's, where they keep nothing anyway."""
    runner = copy.copy(runner)
    runner.session_service = sessions = RunSessions()
    if isinstance(runner.artifact_service, InMemoryArtifactService | None):
        runner.artifact_service = InMemoryArtifactService()
    return runner, sessions


def _streaming(runner: Runner) -> Any:
    """Streamed, so that tokens are told of as they come, unless code of the user's sees what a
    model says: that may be written for whole answers only."""
    if runner.app.plugins or _sees_answers(runner.agent):
        return _MODES.NONE
    return _MODES.SSE


def _sees_answers(agent: Any) -> bool:
    if getattr(agent, "after_model_callback", None):
        return True
    below = list(getattr(agent, "sub_agents", None) or ())
    below += [
        tool.agent
        for tool in getattr(agent, "tools", None) or ()
        if isinstance(getattr(tool, "agent", None), BaseAgent)
    ]
    return any(_sees_answers(each) for each in below)


# -- events ---------------------------------------------------------------------------------------


def _tell(attempt: Attempt, event: Event) -> None:
    if current_boundary.get() is None:
        return
    actions = event.actions
    if actions.transfer_to_agent:
        _note(attempt, "agent", {"from": event.author, "to": actions.transfer_to_agent})
    delta = {k: v for k, v in (actions.state_delta or {}).items() if not k.startswith("_adk")}
    if delta:
        update: Any = plain(delta)
        size = len(canonical(update))
        if size > MAX_UPDATE:
            update = {"omitted_bytes": size}
        path = f"{event.branch}.{event.author}" if event.branch else event.author
        _note(attempt, "state", {"name": event.author, "path": path, "update": update})


def _note(attempt: Attempt, name: str, about: dict[str, Any]) -> None:
    place = attempt.named_place(f"events/{name}")
    attempt.note(place, Kind.EMIT, name, digest(canonical(about)), orjson.dumps(about))
