"""How an attempt ends before its agent is through, and what is waited for after it (rules C1-C6).

An attempt is closed from within or without: to park, to hop, because the lease was lost, the run
was cancelled, or a limit stops it. Closing goes: start no new effect, wait until those in flight
are recorded, unwind the agent by cancelling its root task while boundaries block, discard what it
returns or raises.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from perdure.core import crash
from perdure.core.words import counted
from perdure.errors import Parked
from perdure.runtime.pumps import Pumps
from perdure.store.rows import Wait

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt

log = logging.getLogger("perdure.attempt")

THREAD_SECONDS = 0.5  # a root that waits for its threads is not waited for by them any longer
STRAGGLER_SECONDS = 10.0  # tasks that swallow cancellation this long are left behind


class Ending(StrEnum):
    """Why an attempt is closed before its agent is through."""

    PARK = "park"
    HOP = "hop"
    LOST = "lost"
    FAIL = "fail"
    CANCEL = "cancel"
    CONTINUE = "continue"  # in the run's next generation


_PATIENT = (Ending.PARK, Ending.HOP, Ending.CONTINUE)  # these wait for what is in flight


class Closing:
    """Of one attempt. ``ending`` is None as long as it goes on."""

    def __init__(self, attempt: Attempt) -> None:
        self.ending: Ending | None = None
        self.error: BaseException | None = None  # with FAIL
        self.waits: tuple[Wait, ...] = ()  # with PARK
        self.following: bytes | None = None  # with CONTINUE: the next generation's input
        self.cutting = False  # the agent is being unwound: its cancellations are ours
        self.cancelling = False  # the user asked it to stop; it may clean up (C4)
        self.through = False  # the agent is; what it left behind starts nothing more
        self.task: asyncio.Task[Any] | None = None  # the agent's root
        self._attempt = attempt
        self._sync = attempt.agent.sync
        self._inside = False  # the agent's code is on the stack
        self._left = asyncio.Event()  # and set when it is no more
        self._over = False
        self._hop_due = False
        self._timers: list[asyncio.TimerHandle] = []
        self._closer: asyncio.Task[None] | None = None
        self._until_cutting: list[asyncio.Future[None]] = []
        self._raise_cancel_in_thread = False

    # -- asked for ----------------------------------------------------------------------------

    def close(
        self,
        ending: Ending,
        *,
        waits: tuple[Wait, ...] = (),
        error: BaseException | None = None,
        within: timedelta | None = None,
    ) -> None:
        """Begin to end the attempt. ``within`` bounds how long effects in flight may take. What
        ends it at once goes before what waits for them; a lost lease before everything."""
        if self._over:
            return
        if self.ending is not None:
            waiting = self.ending in _PATIENT and not self.cutting
            at_once = ending not in _PATIENT and waiting
            if not at_once and (ending is not Ending.LOST or self.ending is Ending.LOST):
                return
        self.ending = ending
        self.waits, self.error = waits, error
        self._begin_unwinding(within)

    def hop(self, *, within: timedelta | None = None) -> None:
        """End between two effects, to go on elsewhere. Before the first live effect was tried
        there is nothing to go on with: then after it (C6)."""
        if self._over:
            return
        attempt = self._attempt
        if attempt.tried and (attempt.open_effects or not attempt.waiting.waiters):
            self.close(Ending.HOP, within=within)
        else:
            self._hop_due = True
            attempt.waiting.hurry()
        if within is not None:
            self._later(within, self._cut_short)

    def effect_ended(self) -> None:
        """Between two effects is now."""
        if self._hop_due:
            self.close(Ending.HOP)

    def cancel(self) -> None:
        """The user asked the run to stop: unwind, and let it clean up for a while (C4)."""
        if self.cancelling or self.cutting or self._over:
            return
        self.cancelling = True
        self._later(self._attempt.policy.cancel_grace, lambda: self.close(Ending.CANCEL))
        if self.ending is not None:
            return  # it is being unwound anyway
        # A thread is told at a boundary, and once: its cleanup may have effects.
        self._raise_cancel_in_thread = not self._attempt.waiting.interrupt()
        self._cancel_root()

    def over(self) -> None:
        """Nothing is left to do: let go of timers and tasks, and of all that leads back here, which
        would leave it to the garbage collector."""
        self._over = True
        for timer in self._timers:
            timer.cancel()
        if self._closer is not None:
            self._closer.cancel()
        self.task = self._closer = None
        del self._attempt

    # -- what boundaries see ------------------------------------------------------------------

    def forbids(self, *, once: bool) -> bool:
        """Whether a boundary must block. A ``once`` that was begun is finished: nothing parks
        inside it (P4)."""
        if self.through:
            return True
        return self.ending is not None and not (
            once and self.ending in _PATIENT and not self.cutting
        )

    async def until_cutting(self) -> None:
        """Returns when the agent is being unwound."""
        if not self.cutting:
            future = asyncio.get_running_loop().create_future()
            self._until_cutting.append(future)
            try:
                await future
            finally:
                self._until_cutting.remove(future)

    def tell_thread(self) -> None:
        """A user's cancel reaches synchronous code at its next boundary, once."""
        if self._raise_cancel_in_thread:
            self._raise_cancel_in_thread = False
            raise Parked("the run was cancelled")

    async def until_thread_may_go(self) -> None:
        """An exception out of one thread makes a framework cancel the thread's siblings: not while
        their effects in flight are still to be recorded (C1). Where the root is a task the thread
        waits until that is unwound, so that the framework never sees a failure at all."""
        await self.until_cutting()
        if self._inside and not self._sync:
            try:
                async with asyncio.timeout(THREAD_SECONDS):
                    await self._left.wait()
            except TimeoutError:
                pass

    # -- the agent's code ---------------------------------------------------------------------

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The agent's code runs."""
        self._inside = True
        try:
            yield
        finally:
            self._inside = False
            self._left.set()

    async def unwound(self) -> None:
        """After it, where it was being unwound: take the cancellations back that were for it."""
        assert self.task is not None
        while self.task.cancelling():
            self.task.uncancel()
        await self._end_stragglers()

    async def finish(self, *, failed: bool = False) -> None:
        """Wait for what still runs after the agent is through: its streams' pumps (C8), and
        effects in flight that it turned away from (C3). Where it failed they are waited for as
        long as they take, because the next attempt would repeat them."""
        attempt = self._attempt
        self.through = True
        if self._closer is not None and not self.cutting:
            self._closer.cancel()
        if self.ending is Ending.LOST:
            attempt.pumps.cancel()
        else:
            if attempt.open_effects:
                await self._flown(failed)
            if attempt.has_bodies:
                await self._bodies_ended(attempt.bodies, failed)
        if attempt.has_pumps:
            await attempt.pumps.ended()
        if any(t is not self.task and not t.done() for t in attempt.tasks):
            await self._end_stragglers()

    async def _bodies_ended(self, bodies: Pumps, failed: bool) -> None:
        """C3: another attempt must not meet this one's threads, unless they are known to be
        uncertain. Where there is no other attempt, one that hangs keeps nobody waiting."""
        uncertain = any(wait.reason == "uncertain" for wait in self.waits)
        try:
            patience = None if failed and not uncertain else STRAGGLER_SECONDS
            async with asyncio.timeout(patience):
                await bodies.ended()
        except TimeoutError:
            self._warn("a thread of a step or tool did not end")

    async def _flown(self, failed: bool) -> None:
        attempt = self._attempt
        over = attempt.loop.create_task(attempt.flight.over())
        cutting = attempt.loop.create_task(self.until_cutting())
        try:
            if failed:
                await asyncio.wait({over, cutting}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({over}, timeout=STRAGGLER_SECONDS)
            if not over.done():
                self._warn(f"{counted(attempt.open_effects, 'effect')} did not end")
        finally:
            over.cancel()
            cutting.cancel()

    async def _end_stragglers(self) -> None:
        """C2: tasks seen at boundaries that outlived the root are cancelled too."""
        attempt = self._attempt
        attempt.pumps.cancel()
        rest = {t for t in attempt.tasks if t is not self.task and not t.done()}
        until = attempt.loop.time() + STRAGGLER_SECONDS
        while rest and attempt.loop.time() < until:
            for task in rest:
                task.cancel()
            _, rest = await asyncio.wait(rest, timeout=0.05)
        if rest:
            self._warn(f"{counted(len(rest), 'task')} did not end when cancelled")

    def _warn(self, text: str) -> None:
        run_id = self._attempt.run_id
        log.warning("run %s: %s", run_id, text, extra={"run_id": run_id})

    # -- unwinding ----------------------------------------------------------------------------

    def _begin_unwinding(self, within: timedelta | None) -> None:
        if self._closer is not None:
            self._closer.cancel()
        self._closer = self._attempt.loop.create_task(self._unwind(within))

    def _later(self, delay: timedelta, call: Callable[[], None]) -> None:
        self._timers.append(self._attempt.loop.call_later(delay.total_seconds(), call))

    def _cut_short(self) -> None:
        """The time is up for what a park or hop waits for."""
        if self.ending is None:
            self.close(Ending.HOP, within=timedelta(0))
        elif self.ending in _PATIENT and not self.cutting:
            self._begin_unwinding(timedelta(0))

    async def _unwind(self, within: timedelta | None) -> None:
        attempt = self._attempt
        if self.ending in _PATIENT:
            try:
                limit = None if within is None else max(within.total_seconds(), 0)
                async with asyncio.timeout(limit):
                    await attempt.flight.over()
            except TimeoutError:
                pass
            crash.reach(crash.Point.WHILE_PARKING)
            for ticket in attempt.flight.resting():
                ticket.put_down()
        self.cutting = True
        for future in self._until_cutting:
            if not future.done():
                future.set_result(None)
        threads = attempt.loop.create_task(self._interrupt_threads(attempt))
        pause = 0.0
        while self._inside:
            self._cancel_root()
            await asyncio.sleep(pause)
            pause = min(pause + 0.001, 0.05)
        attempt.pumps.cancel()
        await threads

    def _cancel_root(self) -> None:
        if self.task is not None and self._inside and not self._sync:
            self.task.cancel()

    async def _interrupt_threads(self, attempt: Attempt) -> None:
        await self.until_thread_may_go()
        attempt.waiting.interrupt()
        attempt.crossing.interrupt()
