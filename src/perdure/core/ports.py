"""The seam between boundaries and the runtime: how whoever catches an effect (the gateway, a tool
wrapper, a framework's adapter) asks the run what to do with it.

``boundary()`` is the run of the calling code, or None outside any run. A boundary asks once for
each effect and gets a :class:`Ticket`: either recorded already, so that the answer is in it, or
live, so that the caller performs the effect and reports how it ended. A live ticket must be closed
exactly once. Invariant: nothing a ticket reports as done is seen by the agent before it is durable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from perdure.core.budget import Budget
from perdure.core.charge import Charge


class About(NamedTuple):
    """Whose effect it is: what limits, budgets, routes and the ledger go by. ``step`` is the name
    of the step or tool around it; ``feature`` and ``difficulty`` are what the agent's code or the
    run's labels say; ``deadline`` is the run's, by the store's clock; ``budget`` is one of the
    caller's own, beside those of the settings."""

    run_id: str | None = None
    agent: str = ""
    tenant: str = ""
    session: str = ""
    step: str = ""
    feature: str = ""
    difficulty: str = ""
    priority: int = 0
    deadline: datetime | None = None
    budget: Budget | None = None


class Ticket(Protocol):
    """One effect of a run."""

    @property
    def key(self) -> bytes:
        """The effect's name in its run; the same in every attempt."""

    @property
    def live(self) -> bool:
        """Whether the caller has to perform the effect."""

    @property
    def state(self) -> str:
        """Of a recorded one: ``done`` or ``failed``."""

    @property
    def value(self) -> bytes:
        """Of a recorded one: the codec bytes it was closed with (blobs fetched)."""

    async def done(
        self, value: bytes, *, request: Sequence[bytes] | None = None, took: timedelta | None = None
    ) -> None:
        """It happened and gave ``value`` (codec bytes). Returns when that is durable.

        ``request``: the request's parts in order (system, tools, messages ...) to be stored as a
        content-addressed chain (rule Z1)."""

    async def failed(self, value: bytes, *, request: Sequence[bytes] | None = None) -> None:
        """It failed; ``value`` is what a replay needs to fail alike. Returns when durable."""

    def abandoned(self) -> None:
        """The agent itself cancelled it (F3). Durable before this branch's next effect."""

    def delta(self, data: bytes) -> None:
        """Append an event with a piece of the answer (codec bytes). Nobody waits; coalesced."""

    def warning(self, code: str, message: str) -> None:
        """Append a warning event."""

    def charge(self, charge: Charge) -> None:
        """Enter what was paid for this effect, or spared. Durable no later than what is reported
        of the effect afterwards."""

    async def rest(self, until: datetime, detail: str, note: bytes) -> None:
        """Wait for a time of the store's clock before it is performed; where every branch of the
        agent waits for long, the attempt parks (C5) and this does not return: the next one finds
        ``note`` (codec bytes) in its ticket."""

    @property
    def noted(self) -> bytes:
        """What was left last by ``again`` or ``rest``, in this attempt or an earlier one; b"" where
        there is nothing."""

    async def again(self, note: bytes) -> None:
        """What was handed out of it counts for nothing: end this attempt, so that the next one
        performs the effect anew (E1) and finds ``note`` (codec bytes) in its ticket."""


class Boundary(Protocol):
    """A run, as its boundaries see it. Methods without ``async`` may be called from any thread
    but the event loop's own; the async ones from any event loop."""

    run_id: str
    agent: str

    async def request(
        self, kind: str, name: str, digest: bytes, *, promise: str = "reads", streamed: bool = False
    ) -> Ticket:
        """Ask for an effect. May not return at all: when the attempt is closing it blocks until
        the agent is unwound. ``streamed``: the caller closes the ticket from elsewhere (a pump);
        the branch's next effect waits until that has happened (C8)."""

    def request_blocking(
        self, kind: str, name: str, digest: bytes, *, promise: str = "reads", streamed: bool = False
    ) -> Ticket:
        """The same for synchronous code. Raises ``Parked`` when the attempt is closing (C3)."""

    @property
    def about(self) -> About:
        """Whose effects the calling code's are."""

    async def carry_out(self, what: Coroutine[Any, Any, Any]) -> Any:
        """Run ``what`` on the run's own event loop, whichever this is."""

    def wait_blocking(self, what: Coroutine[Any, Any, Any]) -> Any:
        """The same from synchronous code, also for a ticket's coroutine (``ticket.done(...)``)."""

    def pump(self, body: Callable[[], Awaitable[None]]) -> Awaitable[None]:
        """Run ``body`` as the attempt's own task on the calling loop, from now on whether or not
        anyone awaits the answer: it outlives the agent's cancellation, and the attempt settles
        only when it has ended. ``body`` raises nothing but CancelledError."""

    def pump_blocking(self, body: Callable[[], None]) -> None:
        """The same for synchronous code: start ``body`` in a daemon thread of the attempt's own
        and return. ``body`` uses ``wait_blocking`` and raises nothing."""


class Answers(Protocol):
    """Keeps answers of models for those who ask the same."""

    async def remember(self, key: bytes, value: bytes, ttl: timedelta) -> None:
        """Keep ``value`` for so long, in place of what was there. Raises StoreUnavailable."""

    async def recall(self, key: bytes) -> bytes | None:
        """What is kept there and not too old. Raises StoreUnavailable."""


class Standstill(NamedTuple):
    """Why a run may not begin yet. ``until``: when there may be room; None: not by waiting.
    ``strict``: it is to be refused."""

    until: datetime | None
    detail: str
    strict: bool


class Preflight(Protocol):
    """Holds what whole runs will probably take, before their agent's code begins."""

    async def begin(self, about: About, *, resumed: bool) -> Standstill | None:
        """An attempt is about to begin. One that goes on with a run (``resumed``) always may."""

    async def look(self, about: About) -> Standstill | None:
        """Whether a new run might begin now; nothing is held. Raises StoreUnavailable."""

    def end(self, run_id: str, *, succeeded: bool) -> None:
        """The attempt is over; where the run ``succeeded``, later ones are judged by it."""


class Calls(Protocol):
    """Counts model calls that belong to no run (rule T3)."""

    def stray(self, host: str) -> None:
        """A model provider was called outside any run. Raises where strict mode refuses it."""


current_boundary: ContextVar[Boundary | None] = ContextVar("perdure_boundary", default=None)
# Of code that belongs to no run and whose model calls count all the same.
current_account: ContextVar[Boundary | None] = ContextVar("perdure_account", default=None)


def boundary() -> Boundary | None:
    """The run that the calling code belongs to, or None."""
    return current_boundary.get()


def calling() -> Boundary | None:
    """Whose a model call of the calling code is: its run's, or an agent's without runs; else
    None."""
    return current_boundary.get() or current_account.get()
