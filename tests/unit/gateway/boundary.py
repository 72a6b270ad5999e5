"""A run in memory: records what the gateway reports and can replay it, with the contract of
``core.ports.Boundary`` and nothing more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import orjson

from perdure.core.charge import Charge
from perdure.core.ports import About, current_boundary


class MemoryTicket:
    """One effect; ``states`` are the ways it was closed, in order (one, if all is well)."""

    def __init__(self, run: MemoryRun, name: str, digest: bytes, streamed: bool) -> None:
        self.run = run
        self.name = name
        self.digest = digest
        self.streamed = streamed
        self.key = digest[:12]
        self.live = True
        self.state = ""
        self.value = b""
        self.states: list[str] = []
        self.request: tuple[bytes, ...] = ()
        self.deltas: list[str] = []
        self.warnings: list[tuple[str, str]] = []
        self.charges: list[Charge] = []
        self.rests: list[tuple[datetime, str]] = []
        self.noted = b""

    async def done(
        self, value: bytes, *, request: Sequence[bytes] | None = None, took: timedelta | None = None
    ) -> None:
        await self._close("done", value, request)

    async def failed(self, value: bytes, *, request: Sequence[bytes] | None = None) -> None:
        await self._close("failed", value, request)

    async def _close(self, state: str, value: bytes, request: Sequence[bytes] | None) -> None:
        if self.run.disk is not None:
            self.run.writing.set()
            await self.run.disk.wait()
        if self.run.lost is not None:
            raise self.run.lost
        self._settle(state, value, request)

    def abandoned(self) -> None:
        self._settle("abandoned", b"null", None)

    def _settle(self, state: str, value: bytes, request: Sequence[bytes] | None) -> None:
        self.states.append(state)
        self.value, self.request = value, tuple(request or ())
        self.run.closed.set()

    def delta(self, data: bytes) -> None:
        self.deltas.append(orjson.loads(data)["text"])
        self.run.speaking.set()

    def warning(self, code: str, message: str) -> None:
        self.warnings.append((code, message))

    def charge(self, charge: Charge) -> None:
        self.charges.append(charge)

    async def rest(self, until: datetime, detail: str, note: bytes) -> None:
        self.rests.append((until, detail))
        self.noted = note

    async def again(self, note: bytes) -> None:
        self._settle("again", note, None)


class Replayed:
    """What was recorded for one effect."""

    live = False

    def __init__(self, ticket: MemoryTicket) -> None:
        self.key, self.state, self.value = ticket.key, ticket.states[-1], ticket.value

    async def done(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("a recorded effect was closed")

    failed = done

    def abandoned(self) -> None:
        raise AssertionError("a recorded effect was closed")

    def delta(self, data: bytes) -> None:
        raise AssertionError("a recorded effect gave a delta")

    def warning(self, code: str, message: str) -> None:
        raise AssertionError("a recorded effect gave a warning")


class MemoryRun:
    """A boundary. ``recorded``: tickets of an earlier attempt to replay. ``disk``: an event that
    must be set before anything is durable. ``lost``: raised where something should be recorded.
    ``refusal``: raised by requests. ``reuse``: what is recorded answers whatever is asked."""

    run_id = "run_1"
    agent = "agent"

    def __init__(self, recorded: Sequence[MemoryTicket] = ()) -> None:
        self.tickets: list[MemoryTicket] = []
        self.unread = [ticket for ticket in recorded if ticket.states[-1] != "abandoned"]
        self.disk: asyncio.Event | None = None
        self.speaking = asyncio.Event()  # the first words of a stream are out
        self.writing = asyncio.Event()  # a record waits for the disk
        self.lost: Exception | None = None
        self.refusal: Exception | None = None
        self.about = About(self.run_id, self.agent)
        self.reuse = False
        self.closed = threading.Event()
        self.pumps: list[asyncio.Task[None] | threading.Thread] = []

    def _ask(self, kind: str, name: str, digest: bytes, promise: str, streamed: bool) -> Any:
        assert (kind, promise) == ("model", "reads")
        if self.refusal is not None:
            raise self.refusal
        for ticket in self.unread:
            if self.reuse or (ticket.name, ticket.digest) == (name, digest):
                self.unread.remove(ticket)
                return Replayed(ticket)
        ticket = MemoryTicket(self, name, digest, streamed)
        self.tickets.append(ticket)
        return ticket

    async def request(
        self, kind: str, name: str, digest: bytes, *, promise: str = "reads", streamed: bool = False
    ) -> Any:
        return self._ask(kind, name, digest, promise, streamed)

    def request_blocking(
        self, kind: str, name: str, digest: bytes, *, promise: str = "reads", streamed: bool = False
    ) -> Any:
        return self._ask(kind, name, digest, promise, streamed)

    async def carry_out(self, what: Coroutine[Any, Any, Any]) -> Any:
        return await what

    def wait_blocking(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(what)

    def pump(self, body: Callable[[], Awaitable[None]]) -> Awaitable[None]:
        async def run() -> None:
            await body()

        task = asyncio.get_running_loop().create_task(run())
        self.pumps.append(task)
        return task

    def pump_blocking(self, body: Callable[[], None]) -> None:
        thread = threading.Thread(target=body, daemon=True)
        self.pumps.append(thread)
        thread.start()

    async def settle(self) -> None:
        """Waits until every pump has ended."""
        for pump in self.pumps:
            if isinstance(pump, threading.Thread):
                await asyncio.to_thread(pump.join)
            else:
                await pump

    @contextmanager
    def running(self) -> Iterator[MemoryRun]:
        """What is called within it belongs to this run."""
        token = current_boundary.set(self)
        try:
            yield self
        finally:
            current_boundary.reset(token)

    def again(self) -> MemoryRun:
        """The next attempt: replays what this one recorded."""
        return MemoryRun(self.tickets)

    @property
    def only(self) -> MemoryTicket:
        """The one effect that went out."""
        [ticket] = self.tickets
        return ticket
