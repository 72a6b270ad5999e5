"""Model calls of no run: nothing is written to a journal, but they are counted, bounded, routed and
charged like any other. The proxy's are, and those of agents with ``durability="none"``.

Also what such calls and a proxy's calls for runs have in common: nobody can be parked here, so what
has to wait for long waits, up to a bound, and is then told when to come again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any

from perdure.core.charge import Charge
from perdure.core.labels import current_difficulty, current_feature
from perdure.core.ports import About, Boundary, Ticket
from perdure.errors import Backpressure, BoundaryError
from perdure.runtime.crossing import Crossing, refuse_loop_thread

log = logging.getLogger("perdure.gateway")


class Patience:
    """How long one call may wait for room. ``retry_after`` is set where it was too long."""

    __slots__ = ("_now", "_until", "retry_after")

    def __init__(self, seconds: float, now: Callable[[], datetime]) -> None:
        """``now``: the store's clock."""
        self._until = asyncio.get_running_loop().time() + seconds
        self._now = now
        self.retry_after: float | None = None

    async def rest(self, until: datetime, detail: str) -> None:
        """Waits for a time of the store's clock. Raises Backpressure where that is too late."""
        seconds = max(0.0, (until - self._now()).total_seconds())
        if asyncio.get_running_loop().time() + seconds > self._until:
            self.retry_after = max(seconds, 1.0)
            raise Backpressure(f"There is no room yet: {detail}.", retry_after=self.retry_after)
        log.info("A model call waits for %.0f s: %s.", seconds, detail)
        await asyncio.sleep(seconds)


class Outside:
    """Implements ``core.ports.Boundary`` for calls of no run. Made on the event loop that its
    gateway is used on. ``keep`` holds tasks that outlive their request, ``spend`` enters rows into
    the ledger."""

    run_id = ""

    def __init__(
        self,
        about: About,
        patience: Patience,
        keep: Callable[[Coroutine[Any, Any, None]], Awaitable[None]],
        spend: Callable[[Charge], None],
    ) -> None:
        self.agent = about.agent
        self.patience = patience
        self.spend = spend
        self._about = about
        self._keep = keep
        self._crossing = Crossing(asyncio.get_running_loop())

    @property
    def about(self) -> About:
        """See ``core.ports.Boundary``."""
        return self._about

    async def request(
        self, kind: str, name: str, digest: bytes, *, promise: str = "reads", streamed: bool = False
    ) -> Ticket:
        """See ``core.ports.Boundary``."""
        return Unjournaled(self)

    def request_blocking(
        self, kind: str, name: str, digest: bytes, *, promise: str = "reads", streamed: bool = False
    ) -> Ticket:
        """See ``core.ports.Boundary``. Raises BoundaryError on an event loop."""
        refuse_loop_thread(f"The {kind} {name!r}")
        return Unjournaled(self)

    async def carry_out(self, what: Coroutine[Any, Any, Any]) -> Any:
        """See ``core.ports.Boundary``."""
        return await self._crossing.carry_out_async(what)

    def wait_blocking(self, what: Coroutine[Any, Any, Any]) -> Any:
        """See ``core.ports.Boundary``."""
        return self._crossing.carry_out(what)

    def pump(self, body: Callable[[], Awaitable[None]]) -> Awaitable[None]:
        """See ``core.ports.Boundary``."""
        return self._keep(_run(body))

    def pump_blocking(self, body: Callable[[], None]) -> None:
        """See ``core.ports.Boundary``."""
        threading.Thread(target=body, name="perdure-stream", daemon=True).start()


def outliving(
    what: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]
) -> asyncio.Task[None]:
    """``what`` as a task of the running loop, which is among ``tasks`` until it has ended."""
    task = asyncio.get_running_loop().create_task(what)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


async def _run(body: Callable[[], Awaitable[None]]) -> None:
    await body()


class Accounts:
    """Makes the boundaries of agents that have no runs, on the event loop of their gateway.
    ``now``: the store's clock."""

    def __init__(self, spend: Callable[[Charge], None], now: Callable[[], datetime]) -> None:
        self._spend = spend
        self._now = now
        self._streams: set[asyncio.Task[None]] = set()  # read to their ends for what they cost

    def of(self, about: About, seconds: float) -> Boundary:
        """For one call of an agent, whose model calls may wait for ``seconds`` in all."""
        return _Account(about, Patience(seconds, self._now), self._keep, self._spend)

    def _keep(self, what: Coroutine[Any, Any, None]) -> Awaitable[None]:
        return outliving(what, self._streams)


class _Account(Outside):
    """Whose agent says itself what its calls are for."""

    @property
    def about(self) -> About:
        """See ``core.ports.Boundary``."""
        return self._about._replace(
            feature=current_feature.get(), difficulty=current_difficulty.get()
        )


class Unjournaled:
    """Implements ``core.ports.Ticket``: always live, and nothing is left of it but its charges."""

    __slots__ = ("_boundary",)
    key = b""
    live = True
    state = ""
    value = b""
    noted = b""

    def __init__(self, boundary: Outside) -> None:
        self._boundary = boundary

    async def done(
        self, value: bytes, *, request: Sequence[bytes] | None = None, took: timedelta | None = None
    ) -> None:
        """See ``core.ports.Ticket``."""

    async def failed(self, value: bytes, *, request: Sequence[bytes] | None = None) -> None:
        """See ``core.ports.Ticket``."""

    def abandoned(self) -> None:
        """See ``core.ports.Ticket``."""

    def delta(self, data: bytes) -> None:
        """See ``core.ports.Ticket``."""

    def warning(self, code: str, message: str) -> None:
        """See ``core.ports.Ticket``."""
        log.info("%s", message)

    def charge(self, charge: Charge) -> None:
        """See ``core.ports.Ticket``."""
        self._boundary.spend(charge)

    async def rest(self, until: datetime, detail: str, note: bytes) -> None:
        """See ``core.ports.Ticket``."""
        await self._boundary.patience.rest(until, detail)

    async def again(self, note: bytes) -> None:
        """Only a run has another attempt."""
        raise BoundaryError("a call of no run is not begun anew")
