"""The session of one attempt, in memory, and the user's own session service around it.

ADK builds a request from the session's events, so they must be the same in every attempt. Events
of agents that run at once come in the order in which the agents got on, which is another one in a
replay: here they stand in the order of their branches' names. ADK promises no order there.
"""

from __future__ import annotations

from typing import Any

from google.adk.events.event import Event
from google.adk.sessions.base_session_service import BaseSessionService
from google.adk.sessions.in_memory_session_service import InMemorySessionService
from google.adk.sessions.session import Session

from perdure.core.digest import digest
from perdure.core.ports import current_boundary
from perdure.core.record import Kind, Promise
from perdure.runtime.call import ByAnnotation, Call
from perdure.runtime.declared import Declared
from perdure.runtime.performing import perform


class RunSessions(InMemorySessionService):
    """ADK's sessions in memory, with parallel events in an order of their own."""

    async def append_event(self, session: Session, event: Event) -> Event:
        appended = await super().append_event(session, event)
        if not event.partial:
            stored = self.sessions[session.app_name][session.user_id][session.id]
            _settle(session.events)
            if stored.events is not session.events:
                _settle(stored.events)
        return appended

    def adopt(self, session: Session) -> None:
        """Go on with ``session``."""
        users = self.sessions.setdefault(session.app_name, {})
        users.setdefault(session.user_id, {})[session.id] = session


def _settle(events: list[Event]) -> None:
    """Move the last event before those of parallel branches with later names."""
    if not events:
        return
    last = events[-1]
    at = len(events) - 1
    while at > 0 and _comes_before(last, events[at - 1]):
        at -= 1
    events.insert(at, events.pop())


def _comes_before(event: Event, other: Event) -> bool:
    if event.invocation_id != other.invocation_id or not event.branch or not other.branch:
        return False
    mine, theirs = event.branch.split("."), other.branch.split(".")
    parallel = mine[: len(theirs)] != theirs and theirs[: len(mine)] != mine
    return parallel and mine < theirs


async def load(
    service: BaseSessionService, app_name: str, user_id: str, session_id: str
) -> Session | None:
    """The session as the user's service has it, read once in a run."""

    async def read() -> Any:
        found = await service.get_session(app_name=app_name, user_id=user_id, session_id=session_id)
        return None if found is None else found.model_dump(mode="json", by_alias=True)

    recorded = await _step("session.load", Promise.READS, read, session_id)
    return None if recorded is None else Session.model_validate(recorded)


async def save(
    service: BaseSessionService, session: Session, known: int, state: dict[str, Any]
) -> None:
    """Append to the user's service what came after the first ``known`` events. A save that was
    cut goes on where it was."""

    async def write() -> None:
        about: dict[str, Any] = {"app_name": session.app_name, "user_id": session.user_id}
        stored = await service.get_session(**about, session_id=session.id)
        if stored is None:
            stored = await service.create_session(**about, session_id=session.id, state=state)
        for event in session.events[max(known, len(stored.events)) :]:
            await service.append_event(stored, event)

    await _step("session.save", Promise.IDEMPOTENT, write, session.id)


async def _step(name: str, promise: Promise, body: Any, content: str) -> Any:
    place = current_boundary.get()
    if place is None:
        return await body()
    call = Call(
        Declared(Kind.STEP, name, promise), body, (), {}, ByAnnotation(None, name),
        digest(content.encode()),
    )  # fmt: skip
    return await perform(place, call)  # type: ignore[arg-type]
