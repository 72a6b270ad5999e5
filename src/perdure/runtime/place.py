"""Where agent code stands: which run, inside which effect, in which branch (rules K2, K3).

A :class:`Place` is what the context variable holds. Every asyncio task and every thread that
inherits one and reaches a boundary gets a place of its own, named by its parent's path and an
index, or by the framework's own stable name. Places are cheap and belong to one attempt.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any

from perdure.core import branch
from perdure.core.charge import Charge
from perdure.core.labels import current_difficulty, current_feature
from perdure.core.ports import About, Ticket, current_boundary
from perdure.runtime.crossing import refuse_loop_thread

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt
    from perdure.runtime.ticket import Live


def _me() -> object:
    """The task, or the thread where no task runs."""
    try:
        return asyncio.current_task() or threading.get_ident()
    except RuntimeError:
        return threading.get_ident()


class Place:
    """One branch inside one effect of one attempt. Implements ``core.ports.Boundary``."""

    __slots__ = (
        "__weakref__", "agent", "attempt", "barrier", "children", "effect", "name", "once",
        "owner", "path", "run_id", "scope", "stream",
    )  # fmt: skip

    def __init__(
        self,
        attempt: Attempt,
        scope: bytes,
        path: str,
        owner: object | None,
        *,
        name: str | None = None,
        once: bool = False,
        effect: Live | None = None,
    ) -> None:
        self.attempt = attempt
        self.run_id = attempt.run_id
        self.agent = attempt.agent_name
        self.scope = scope
        self.path = path
        self.owner = owner
        self.name = name
        self.once = once
        self.effect = effect  # whose body this is, with the scope as its key
        self.children = 0
        # What must be durable before this branch's next effect goes out: its last row, which
        # stands for those before it, and its last stream, whose row is written by a pump (C8).
        self.barrier: asyncio.Future[None] | None = None
        self.stream: asyncio.Future[None] | None = None

    def mine(self) -> None:
        """The calling code is what this place is for: whatever it starts are its children, which
        then have like names whichever of them comes first."""
        self.owner = _me()

    def here(self) -> Place:
        """The calling code's own place, made on its first visit."""
        me = _me()
        namer = self.attempt.namer
        name = namer() if namer is not None else self.name
        if self.owner is None and name == self.name:
            self.owner = me
        if self.owner == me and name == self.name:
            return self
        if name != self.name and name is not None:
            base = self.attempt.named_place(name, self)
            if base.owner is None:
                base.owner = me
            place = base if base.owner == me else base.fork(me)
        else:
            place = self.fork(me)
        if isinstance(me, asyncio.Task):
            self.attempt.tasks.add(me)
        current_boundary.set(place)
        return place

    def fork(self, owner: object) -> Place:
        """A child branch; its index is the order in which children reach their first boundary."""
        index = self.children
        self.children += 1
        return Place(
            self.attempt,
            self.scope,
            branch.child(self.path, index),
            owner,
            name=self.name,
            once=self.once,
            effect=self.effect,
        )

    def inside(self, effect: Live, *, once: bool) -> Place:
        """The place of an effect's own body: what it requests has the effect as its scope."""
        return Place(self.attempt, effect.key, "", None, once=once or self.once, effect=effect)

    # -- core.ports.Boundary ------------------------------------------------------------------

    async def request(
        self, kind: str, name: str, digest: bytes, *, promise: str = "reads", streamed: bool = False
    ) -> Ticket:
        place = self.here()
        attempt = self.attempt
        if asyncio.get_running_loop() is attempt.loop:
            return await attempt.admit(place, kind, name, digest, promise, streamed)
        ticket = await attempt.crossing.ask_async(
            attempt.admit(place, kind, name, digest, promise, streamed, foreign=True)
        )
        return _ForeignTicket(ticket, attempt)

    def request_blocking(
        self, kind: str, name: str, digest: bytes, *, promise: str = "reads", streamed: bool = False
    ) -> Ticket:
        ticket = self.ticket_blocking(kind, name, digest, promise=promise, streamed=streamed)
        return _ForeignTicket(ticket, self.attempt)

    def ticket_blocking(
        self, kind: str, name: str, digest: bytes, *, promise: str = "reads", streamed: bool = False
    ) -> Ticket:
        """The loop's own ticket, for callers that keep its methods on the loop themselves."""
        place = self.here()
        attempt = self.attempt
        refuse_loop_thread(f"The {kind} {name!r}")
        ticket: Ticket = attempt.crossing.ask(
            attempt.admit(place, kind, name, digest, promise, streamed, foreign=True)
        )
        return ticket

    @property
    def about(self) -> About:
        lease, around = self.attempt.lease, self.effect
        return About(
            self.run_id,
            self.agent,
            lease.tenant,
            lease.session or "",
            around.name if around is not None else "",
            current_feature.get() or lease.labels.get("feature", ""),
            current_difficulty.get() or lease.labels.get("difficulty", ""),
            lease.priority,
            lease.deadline_at,
        )

    async def carry_out(self, what: Coroutine[Any, Any, Any]) -> Any:
        return await self.attempt.crossing.carry_out_async(what)

    def wait_blocking(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self.attempt.crossing.carry_out(what)

    def pump(self, body: Callable[[], Awaitable[None]]) -> Awaitable[None]:
        return self.attempt.pumps.start(body)

    def pump_blocking(self, body: Callable[[], None]) -> None:
        self.attempt.pumps.start_thread(body)


class _ForeignTicket:
    """A ticket used from a thread, or from an event loop that is not the worker's (``run_sync`` of
    some SDKs)."""

    def __init__(self, ticket: Ticket, attempt: Attempt) -> None:
        self._ticket: Any = ticket
        self._loop = attempt.loop
        self._there = attempt.crossing.carry_out_async
        self.key = ticket.key
        self.live = ticket.live
        self.state = ticket.state
        self.value = ticket.value
        self.noted = ticket.noted

    async def done(self, value: bytes, **more: Any) -> None:
        await self._there(self._ticket.done(value, **more))

    async def failed(self, value: bytes, **more: Any) -> None:
        await self._there(self._ticket.failed(value, **more))

    def abandoned(self) -> None:
        self._loop.call_soon_threadsafe(self._ticket.abandoned)

    def delta(self, data: bytes) -> None:
        self._loop.call_soon_threadsafe(self._ticket.delta, data)

    def warning(self, code: str, message: str) -> None:
        self._loop.call_soon_threadsafe(self._ticket.warning, code, message)

    def charge(self, charge: Charge) -> None:
        self._loop.call_soon_threadsafe(self._ticket.charge, charge)

    async def rest(self, until: datetime, detail: str, note: bytes) -> None:
        await self._there(self._ticket.rest(until, detail, note, foreign=True))

    async def again(self, note: bytes) -> None:
        await self._there(self._ticket.again(note))
