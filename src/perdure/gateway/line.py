"""How one model call reaches its run and its provider: written once for asynchronous and
synchronous code.

What runs on a line awaits only what the line offers; one for synchronous code never suspends, so
that :func:`drive` runs the same coroutine to its end on the spot.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from perdure.core.ports import About, Ticket
from perdure.gateway.formats import Question
from perdure.gateway.outcome import Incoming
from perdure.gateway.outgoing import Outgoing

T = TypeVar("T")


class Channel(Protocol):
    """From the pump to the consumer; unbounded, so that neither waits for the other."""

    def put(self, item: bytes | BaseException | None) -> None:
        """A piece, the error that ends the body, or None: the end."""


class Line(Protocol):
    """How one call reaches its run and its provider, from asynchronous or synchronous code."""

    @property
    def about(self) -> About:
        """Whose call it is."""

    async def ask(self, question: Question) -> Ticket:
        """The effect's ticket."""

    async def send(self, outgoing: Outgoing | None) -> Incoming:
        """Sends the request, changed as ``outgoing`` says. Raises SendFailed."""

    async def wait(self, what: Coroutine[Any, Any, T]) -> T:
        """Waits for a ticket's coroutine."""

    async def carry_out(self, what: Coroutine[Any, Any, T]) -> T:
        """Has a trip's coroutine run on the run's event loop."""

    async def sleep(self, seconds: float) -> None:
        """Waits between two tries."""

    def channel(self) -> Channel:
        """For a stream."""

    def pump(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs ``body`` on the attempt's account, not the agent's."""

    async def drain(self, incoming: Incoming) -> None:
        """Reads what is left of a body after its last event, so that the connection can be used
        again; not for long."""


def drive(what: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never suspends."""
    try:
        what.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    what.close()
    raise RuntimeError("a synchronous call was about to wait for an event loop")
