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
from datetime import timedelta
from typing import Any, Protocol


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

    def wait_blocking(self, what: Coroutine[Any, Any, Any]) -> Any:
        """Run a ticket's coroutine (``ticket.done(...)``) from synchronous code."""

    def pump(self, body: Callable[[], Awaitable[None]]) -> Awaitable[None]:
        """Run ``body`` as the attempt's own task on the calling loop, from now on whether or not
        anyone awaits the answer: it outlives the agent's cancellation, and the attempt settles
        only when it has ended. ``body`` raises nothing but CancelledError."""

    def pump_blocking(self, body: Callable[[], None]) -> None:
        """The same for synchronous code: start ``body`` in a daemon thread of the attempt's own
        and return. ``body`` uses ``wait_blocking`` and raises nothing."""


class Calls(Protocol):
    """Counts model calls that belong to no run (rule T3)."""

    def stray(self, host: str) -> None:
        """A model provider was called outside any run. Raises where strict mode refuses it."""


current_boundary: ContextVar[Boundary | None] = ContextVar("perdure_boundary", default=None)


def boundary() -> Boundary | None:
    """The run that the calling code belongs to, or None."""
    return current_boundary.get()
