"""What an attempt waits for, and when that makes it park (rules C1, C5, C7).

A wait holds no worker for long: when every branch of the agent waits, at least one of them for
something with a known long end, the attempt parks and the run wakes at the union of its waits.
Whether every branch waits is proved by following what the agent's tasks await; where that cannot
be followed (threads, plain futures) a short time without any activity stands for the proof.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from perdure.codec import BLOB, RAW
from perdure.core.record import Entry, EntryState, Kind
from perdure.errors import Parked
from perdure.store.rows import Signal, Wait

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt
    from perdure.runtime.ticket import Live

QUIET_SECONDS = 0.1
TURNS = 3  # of the event loop, so that tasks just created reach their first boundary


class _Waiter:
    __slots__ = ("foreign", "future", "long", "task", "waits")

    def __init__(self, waits: tuple[Wait, ...], long: bool, foreign: bool) -> None:
        self.waits = waits
        self.long = long
        self.foreign = foreign
        self.task = None if foreign else asyncio.current_task()
        self.future: asyncio.Future[Signal | None] = asyncio.get_running_loop().create_future()


class Waiting:
    """The waits of one attempt, and its run's signals."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._waiters: list[_Waiter] = []
        self._unread: dict[str, deque[Signal]] = {}
        self._consumed: dict[str, int] = {}
        self._consumed_n: set[int] = set()
        self._last_n = 0
        self._loaded = False
        self._checking = False
        self._hurried = False

    async def consumed(self, entries: Iterable[Entry]) -> None:
        """Learn from the journal which signals were consumed already."""
        for entry in entries:
            signals = entry.kind in (Kind.SIGNAL, Kind.RUN) and entry.state in (
                EntryState.DONE,
                EntryState.FAILED,
            )
            if not signals:
                continue
            value = await self._attempt.fetch(entry)  # large payloads are not read with the keys
            if value[:1] == b"{":
                document = orjson.loads(value)
                n = document.get("n")
                if isinstance(n, int):
                    self._note_consumed(document.get("name", entry.name), n)

    async def until(self, ticket: Live, wait: Wait, *, long: bool, foreign: bool) -> None:
        """Wait for the time of the store's clock that ``wait`` names."""
        await self._hold(ticket, (wait,), long=long, foreign=foreign)

    async def signal(
        self, ticket: Live, *names: str, until: datetime | None, reason: str, foreign: bool
    ) -> Signal | None:
        """The next unread signal of this name, or of one of these in order of preference; None
        when ``until`` passed first."""
        if not self._loaded:
            await self.poke()
        if found := self._read(names):
            return found
        waits = tuple(
            Wait(reason, name=name, after=self._consumed.get(name, 0), until=until)
            for name in names
        )
        park_after = self._attempt.policy.park_after
        found = await self._hold(
            ticket, waits, long=park_after <= timedelta(0), foreign=foreign, long_after=park_after
        )
        return found or self._read(names)

    def _read(self, names: Iterable[str]) -> Signal | None:
        for name in names:
            if queue := self._unread.get(name):
                return self._take(queue)
        return None

    async def poke(self) -> None:
        """Read the signals that came, and hand them to whoever waits for them."""
        attempt = self._attempt
        self._loaded = True
        for signal in await attempt.runtime.persist(
            lambda: attempt.runtime.store.signals(attempt.run_id, self._last_n)
        ):
            if signal.n <= self._last_n:
                continue
            self._last_n = signal.n
            if signal.n in self._consumed_n:
                continue
            for waiter in self._waiters:
                wanted = any(wait.name == signal.name for wait in waiter.waits)
                if wanted and not waiter.future.done():
                    self._note_consumed(signal.name, signal.n)
                    waiter.future.set_result(signal)
                    break
            else:
                self._unread.setdefault(signal.name, deque()).append(signal)

    async def told(self) -> None:
        """Something came. Whoever has not looked yet will look anyway."""
        if self._loaded:
            await self.poke()

    def interrupt(self) -> bool:
        """Closing or cancelling: synchronous code that waits is told here; tasks are cancelled.
        Returns whether there was any."""
        waiting = [w for w in self._waiters if w.foreign and not w.future.done()]
        for waiter in waiting:
            waiter.future.set_exception(Parked("the attempt is over"))
        return bool(waiting)

    @property
    def taken(self) -> tuple[int, ...]:
        """The numbers of the signals that this generation of the run took."""
        return tuple(sorted(self._consumed_n))

    @property
    def waiters(self) -> int:
        """How many wait now."""
        return len(self._waiters)

    def hurry(self) -> None:
        """The attempt is to end: what it waits for need not stay warm any longer."""
        self._hurried = True
        for waiter in self._waiters:
            waiter.long = True
        self.consider()

    def consider(self) -> None:
        """Something moved: does every branch wait now?"""
        if self._waiters and not self._checking and self._may_park():
            self._checking = True
            self._attempt.loop.call_soon(self._check, TURNS, self._attempt.activity)

    def _check(self, turns: int, activity: int) -> None:
        if turns:
            self._attempt.loop.call_soon(self._check, turns - 1, activity)
            return
        if self._may_park() and self._all_tasks_wait():
            self._park()
        elif self._may_park():
            self._attempt.loop.call_later(QUIET_SECONDS, self._after_quiet, self._attempt.activity)
        else:
            self._checking = False

    def _after_quiet(self, activity: int) -> None:
        self._checking = False
        if self._may_park():
            if self._attempt.activity == activity:
                self._park()
            else:
                self.consider()

    def _may_park(self) -> bool:
        attempt = self._attempt
        waiters = [w for w in self._waiters if not w.future.done()]
        return (
            attempt.closing.ending is None
            and not attempt.closing.cancelling
            and not attempt.open_effects
            and len(waiters) == len(self._waiters)
            and any(w.long for w in waiters)
            and all(w.long for w in waiters)
        )

    def _park(self) -> None:
        from perdure.runtime.closing import Ending

        self._checking = False
        waits = tuple(wait for waiter in self._waiters for wait in waiter.waits)
        self._attempt.closing.close(Ending.PARK, waits=waits)

    def _all_tasks_wait(self) -> bool:
        """Whether the agent's tasks provably await nothing but waits."""
        attempt = self._attempt
        if attempt.closing.task is None:
            return False
        waiting = {w.task for w in self._waiters if w.task is not None}
        seen: set[asyncio.Future[Any]] = set()

        def waits(future: asyncio.Future[Any] | None) -> bool:
            if future is None:
                return False  # a task that is about to move
            if future in waiting or future.done() or future in seen:
                return True
            seen.add(future)
            children = getattr(future, "_children", None)  # asyncio.gather's future
            if children is not None:
                return all(waits(child) for child in children)
            return isinstance(future, asyncio.Task) and waits(getattr(future, "_fut_waiter", None))

        return all(waits(task) for task in (attempt.closing.task, *attempt.tasks))

    async def _hold(
        self,
        ticket: Live,
        waits: tuple[Wait, ...],
        *,
        long: bool,
        foreign: bool,
        long_after: timedelta | None = None,
    ) -> Signal | None:
        attempt = self._attempt
        waiter = _Waiter(waits, long or self._hurried, foreign)
        timers: list[asyncio.TimerHandle] = []
        if (until := waits[0].until) is not None:
            delay = max((until - attempt.now()).total_seconds(), 0)
            timers.append(attempt.loop.call_later(delay, _resolve, waiter.future))
        if not long and long_after is not None:
            timers.append(
                attempt.loop.call_later(long_after.total_seconds(), self._lengthen, waiter)
            )
        self._waiters.append(waiter)
        attempt.suspend(ticket)
        if foreign and attempt.closing.cutting:
            self.interrupt()
        self.consider()
        try:
            found = await waiter.future
        except asyncio.CancelledError:
            ticket.abandoned()
            if waiter.future.done() and not waiter.future.cancelled():
                self.give_back(waiter.future.result())
            raise
        finally:
            self._waiters.remove(waiter)
            for timer in timers:
                timer.cancel()
        if attempt.closing.ending is not None:
            await attempt.block(foreign, ticket.place)
        attempt.resume(ticket)
        return found

    def _lengthen(self, waiter: _Waiter) -> None:
        waiter.long = True
        self.consider()

    def give_back(self, signal: Signal | None) -> None:
        """Whoever it was for turned away: the next one has it."""
        if signal is not None:
            self._consumed_n.discard(signal.n)
            self._unread.setdefault(signal.name, deque()).appendleft(signal)

    def _take(self, queue: deque[Signal]) -> Signal:
        signal = queue.popleft()
        self._note_consumed(signal.name, signal.n)
        return signal

    def _note_consumed(self, name: str, n: int) -> None:
        self._consumed_n.add(n)
        self._consumed[name] = max(self._consumed.get(name, 0), n)


def _resolve(future: asyncio.Future[Signal | None]) -> None:
    if not future.done():
        future.set_result(None)


def signal_document(signal: Signal | None) -> bytes:
    """What the journal keeps of a wait's end."""
    if signal is None:
        return orjson.dumps({"timeout": True})
    about = {"n": signal.n, "name": signal.name}
    if signal.payload[:1] in (RAW, BLOB):
        return orjson.dumps({**about, "raw": b64encode(signal.payload).decode()})
    return orjson.dumps({**about, "payload": orjson.Fragment(signal.payload)})


def signal_payload(document: bytes) -> bytes | None:
    """The codec bytes of a recorded signal; None for a wait that timed out."""
    doc = orjson.loads(document)
    if doc.get("timeout"):
        return None
    if "raw" in doc:
        return b64decode(doc["raw"])
    return orjson.dumps(doc.get("payload"))
