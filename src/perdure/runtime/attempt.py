"""One try at a run, from claim to settlement.

The agent runs in the attempt's own task. An attempt ends because the agent returned or raised,
or because it is closed from within or without: to park, to hop, because the lease was lost, the
run was cancelled, or a limit stops it. Closing goes: start no new effect, wait until those in
flight are recorded, unwind the agent by cancelling its root task while boundaries block, discard
what it returns or raises, settle (rules C1-C6).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

import orjson

from perdure import codec
from perdure.codec import BLOB
from perdure.core import crash
from perdure.core.branch import continues, under
from perdure.core.guard import Guard
from perdure.core.matching import Journal, Match, Verdict
from perdure.core.ports import Ticket, current_boundary
from perdure.core.record import Entry, EntryState, Kind, Promise, Record, RecordType
from perdure.errors import BoundaryError, LoopGuard, Parked, RunCancelled
from perdure.runtime.crossing import Crossing
from perdure.runtime.flight import Flight
from perdure.runtime.place import Place
from perdure.runtime.pumps import Pumps
from perdure.runtime.ticket import Live, Recorded, node
from perdure.runtime.waiting import Waiting
from perdure.store.blobs import MAX_INLINE
from perdure.store.rows import Lease, Wait

if TYPE_CHECKING:
    from perdure.runtime.agent import Agent
    from perdure.runtime.runtime import Runtime

log = logging.getLogger("perdure.attempt")

UNSURE_SECONDS = 1.0  # without any replayed answer, before a change of the agent is believed
THREAD_SECONDS = 0.5  # a root that waits for its threads is not waited for by them any longer
STRAGGLER_SECONDS = 10.0  # tasks that swallow cancellation this long are left behind


class Ending(StrEnum):
    """Why an attempt is closed before its agent is through."""

    PARK = "park"
    HOP = "hop"
    LOST = "lost"
    FAIL = "fail"
    CANCEL = "cancel"


_PATIENT = (Ending.PARK, Ending.HOP)  # these wait for what is in flight


class Attempt:
    """Implements what places and tickets need; ``perform`` runs it."""

    def __init__(self, lease: Lease, agent: Agent, runtime: Runtime) -> None:
        if lease.deadline_at is None and agent.policy.timeout is not None:
            # Whoever started the run had not the agent's code at hand.
            lease.deadline_at = lease.created_at + agent.policy.timeout
        self.lease = lease
        self.agent = agent
        self.agent_name = agent.name
        self.run_id = lease.run_id
        self.epoch = lease.epoch
        self.next_seq = lease.next_seq
        self.runtime = runtime
        self.loop = asyncio.get_running_loop()
        self.policy = agent.policy
        self.namer: Callable[[], str | None] | None = agent.namer
        self.journal = Journal(changed=self.policy.changed)
        self.guard = Guard(self.policy.limits)
        # Made when they are needed: most runs have none of these.
        self._waiting: Waiting | None = None
        self._pumps: Pumps | None = None
        self._bodies: Pumps | None = None
        self._crossing: Crossing | None = None
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self.task: asyncio.Task[Any] | None = None
        self.closing: Ending | None = None
        self.error: BaseException | None = None  # with FAIL
        self.waits: tuple[Wait, ...] = ()  # with PARK
        self.cutting = False  # the agent is being unwound: its cancellations are ours
        self.cancelling = False  # the user asked it to stop; it may clean up (C4)
        self.replaying = False  # no live effect yet and entries are left to replay
        self.tried = False  # a live effect was tried (C6)
        self.added = False  # an entry was recorded
        self.activity = 0
        self.entries = 0
        # Told of each request whether it goes out: adapters stream only what is new (E1).
        self.on_request: Callable[[Place, bool], None] | None = None
        self._inside = False  # the agent's code is on the stack
        self._left = asyncio.Event()  # and set when it is no more
        self._hop_due = False
        self._announced = False
        self._last_row: asyncio.Future[None] | None = None
        self._flight = Flight()
        self._over = False  # the agent is through; what it left behind starts nothing more
        self.left = False  # its worker waits for it no longer
        self._timers: list[asyncio.TimerHandle] = []
        self._failures: dict[bytes, tuple[bytes, str]] = {}
        self._named: dict[tuple[bytes, str], Place] = {}
        self._nodes: set[bytes] = set()
        self._closer: asyncio.Task[None] | None = None
        self._unsure: list[asyncio.Future[None]] = []
        self._until_cutting: list[asyncio.Future[None]] = []
        self._raise_cancel_in_thread = False
        self._clock_base = lease.now
        self._clock_zero = self.loop.time()

    # -- parts --------------------------------------------------------------------------------

    @property
    def waiting(self) -> Waiting:
        """Its waits, and its run's signals."""
        if self._waiting is None:
            self._waiting = Waiting(self)
        return self._waiting

    @property
    def pumps(self) -> Pumps:
        """Who reads providers' streams to their end."""
        if self._pumps is None:
            self._pumps = Pumps(self.loop)
        return self._pumps

    @property
    def bodies(self) -> Pumps:
        """Synchronous steps, in threads."""
        if self._bodies is None:
            self._bodies = Pumps(self.loop)
        return self._bodies

    @property
    def crossing(self) -> Crossing:
        """The way here from threads and other event loops."""
        if self._crossing is None:
            self._crossing = Crossing(self.loop)
        return self._crossing

    # -- facts --------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The store's time, as this attempt knows it."""
        return self._clock_base + timedelta(seconds=self.loop.time() - self._clock_zero)

    @property
    def void(self) -> bool:
        """Whether what the agent does from now on counts for nothing: it is being unwound."""
        return self.cutting or self.closing is Ending.LOST

    @property
    def open_effects(self) -> int:
        return len(self._flight)

    def named_place(self, name: str, around: Place | None = None) -> Place:
        """The branch a framework names itself, in the effect that ``around`` is in."""
        scope = around.scope if around is not None else b""
        place = self._named.get((scope, name))
        if place is None:
            place = Place(
                self, scope, name, None, name=name,
                once=around is not None and around.once,
                effect=around.effect if around is not None else None,
            )  # fmt: skip
            self._named[scope, name] = place
        return place

    async def again(self, branch: str) -> None:
        """A framework is about to start the code of ``branch`` over from its beginning: what it
        requested there is answered from the journal once more."""
        if self._last_row is not None:
            await asyncio.shield(self._last_row)
        entries = await self.runtime.persist(lambda: self.runtime.store.journal(self.run_id))
        self.journal.again(entries, branch)
        for scope, name in list(self._named):
            if scope or under(name, branch):
                del self._named[scope, name]

    # -- the boundary -------------------------------------------------------------------------

    async def admit(
        self,
        place: Place,
        kind: str,
        name: str,
        digest: bytes,
        promise: str,
        streamed: bool = False,
        foreign: bool = False,
    ) -> Ticket:
        """What a request is answered with (see ``core.ports``). ``foreign``: the agent's code
        waits in another thread, so closing is an exception there instead of a block."""
        while (barrier := place.stream or place.barrier) is not None:
            await asyncio.shield(barrier)
            # Only now: whoever is cancelled while it waits is not let through the next time.
            if barrier is place.stream:
                place.stream = None
            elif barrier is place.barrier:
                place.barrier = None
        if self._may_not_start(place):
            await self.block(foreign, place)
        if foreign:
            self.tell_thread()
        self.activity += 1
        try:
            self.guard.admit(kind, name, digest)
        except LoopGuard as error:
            self.close(Ending.FAIL, error=error)
            await self.block(foreign, place)
        if self._failures:
            self._went_on(place)
        match = self.journal.request(place.scope, place.path, kind, name, digest)
        if match.verdict is Verdict.UNSURE:
            match = await self._when_sure(place, kind, name, digest, foreign)
        if match.verdict is not Verdict.NEW:
            self._moved()
            recorded = await self._recorded(place, match, kind, name, foreign)
            if recorded is not None:
                if self.on_request is not None:
                    self.on_request(place, False)
                return recorded
        live = await self._go_live(place, match, kind, name, digest, promise, streamed, foreign)
        if self.on_request is not None:
            self.on_request(place, True)
        return live

    async def _when_sure(
        self, place: Place, kind: str, name: str, digest: bytes, foreign: bool
    ) -> Match:
        """Siblings are told apart by the order in which they arrive, and this one finds something
        else at its place: let the others ask first, until nothing moves."""
        while True:
            future = self.loop.create_future()
            self._unsure.append(future)
            try:
                async with asyncio.timeout(UNSURE_SECONDS):
                    await future
                sure = False
            except TimeoutError:
                sure = True
            finally:
                self.journal.reconsider()
            if self._may_not_start(place):
                await self.block(foreign, place)
            match = self.journal.request(place.scope, place.path, kind, name, digest, sure=sure)
            if match.verdict is not Verdict.UNSURE:
                return match

    def _moved(self) -> None:
        unsure, self._unsure = self._unsure, []
        for future in unsure:
            if not future.done():
                future.set_result(None)

    async def _recorded(
        self, place: Place, match: Match, kind: str, name: str, foreign: bool
    ) -> Ticket | None:
        """The answer out of the journal, or None where the effect has to be performed."""
        entry = match.entry
        assert entry is not None
        if match.verdict is Verdict.DIVERGED:
            self.close(
                Ending.PARK,
                waits=(
                    Wait(
                        "diverged",
                        key=entry.key.hex(),
                        detail=f"the agent now asks for {kind} {name!r} where {entry.kind} "
                        f"{entry.name!r} is recorded",
                    ),
                ),
            )
            await self.block(foreign, place)
        if match.verdict is Verdict.INTENT:
            return None  # whoever asked looks at ``Live.intended`` and decides by its promise
        if match.verdict is Verdict.ABANDONED:
            await self._as_long_as_then(place, entry)
            if not entry.size:
                return None
        if match.verdict is Verdict.REUSE:
            self.warn(
                "changed",
                f"The request of {kind} {name!r} changed since it was recorded; the recorded "
                f"answer of this place was used.",
                key=entry.key,
            )
        value = await self.fetch(entry)
        if match.verdict is Verdict.FAILED:
            self.note_failure(place, entry.key)
        self.journal.delivered(place.scope, place.path, entry.key)
        if self.replaying and not len(self.journal):
            self.replaying = False
        failed = match.verdict is Verdict.FAILED
        return Recorded(entry.key, EntryState.FAILED if failed else EntryState.DONE, value)

    async def _go_live(
        self,
        place: Place,
        match: Match,
        kind: str,
        name: str,
        digest: bytes,
        promise: str,
        streamed: bool,
        foreign: bool,
    ) -> Live:
        if not self.runtime.may_start.is_set():
            # Without its lock a worker might be presumed dead: it starts nothing (L5).
            await self.runtime.may_start.wait()
            if self._may_not_start(place):
                await self.block(foreign, place)
        if self.entries >= self.policy.max_entries:
            self.close(Ending.PARK, waits=(_entries_limit(self.policy.max_entries),))
            await self.block(foreign, place)
        self.tried = True
        self.replaying = False
        ticket = Live(self, place, match, kind, name, digest, promise)
        if match.verdict is Verdict.INTENT and match.entry is not None:
            ticket.intended = match.entry
            ticket.intended_value = await self.fetch(match.entry)
        self._flight.begin(ticket)
        if streamed:
            ticket.released = place.stream = self.loop.create_future()
        if kind == Kind.TOOL and promise != Promise.ONCE and ticket.intended is None:
            # Nobody waits for this row: it tells watchers, and the next attempt after a crash.
            self.append_quietly(ticket.record(EntryState.INTENT, b"{}"))
        elif kind == Kind.MODEL:
            self.append_quietly(
                Record(RecordType.STARTED, match.key, place.scope, place.path, kind=kind, name=name)
            )
        return ticket

    async def _as_long_as_then(self, place: Place, entry: Entry) -> None:
        """F3: the agent gave this up once. Wait for it to do so again; if it does not within the
        time it was given then (and a little for slow timers), it goes out after all, unless it
        was over when it was given up and what it gave is recorded."""
        try:
            await asyncio.sleep(entry.took_ms / 1000 * 1.1 + 0.1)
        except asyncio.CancelledError:
            self.journal.given_up(entry)
            self.journal.delivered(place.scope, place.path, entry.key)
            raise

    def _may_not_start(self, place: Place) -> bool:
        if self._over:
            return True
        # A ``once`` that was begun is finished: nothing parks inside it (P4).
        finishing = place.once and self.closing in (Ending.PARK, Ending.HOP) and not self.cutting
        return self.closing is not None and not finishing

    async def block(self, foreign: bool, place: Place) -> None:
        """A boundary of a closing attempt never returns: the agent is unwound meanwhile."""
        self._flight.rest(place.effect)
        if foreign:
            await self.until_thread_may_go()
            raise Parked("the attempt is over")
        await self.loop.create_future()

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
        if self._inside and not self.agent.sync:
            try:
                async with asyncio.timeout(THREAD_SECONDS):
                    await self._left.wait()
            except TimeoutError:
                pass

    def refuse_loop_thread(self, what: str) -> None:
        """Raises BoundaryError where blocking would block the event loop itself."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise BoundaryError(
            f"{what} is synchronous and was called on the event loop, where waiting for the "
            "journal would stop every run.",
            hint="Await its asynchronous form: `await fn.aio(...)` for a sync step or tool, the "
            "async client for a model call; or declare the agent with plain `def`.",
        )

    # -- recording ----------------------------------------------------------------------------

    def append(self, record: Record) -> asyncio.Future[None]:
        """Write an entry; the caller may await that it is durable, now, later, or not at all."""
        future = self.commit(record)
        future.add_done_callback(_retrieve)
        return future

    def commit(self, record: Record) -> asyncio.Future[None]:
        """Write an entry whose future the caller awaits at once. Cancelling that takes nothing
        back: the row goes out all the same."""
        self._announce()
        self.added = True
        self.entries += 1
        future = self._last_row = self.runtime.recorder.append(self, record)
        return future

    def append_quietly(self, record: Record) -> None:
        self._announce()
        self.runtime.recorder.append_quietly(self, record)

    def _announce(self) -> None:
        if not self._announced:
            self._announced = True
            value = orjson.dumps(
                {"attempt": self.lease.attempts + 1, "worker": self.runtime.worker_id}
            )
            self.runtime.recorder.append_quietly(self, Record(RecordType.ATTEMPT, value=value))

    def note(self, place: Place, kind: str, name: str, digest: bytes, value: bytes) -> bytes:
        """A cheap effect that is known at once (clock, random, emit): returns the recorded
        value, or records this one. It is durable before the branch's next effect goes out."""
        if self.closing is not None:
            return value
        try:
            self.guard.admit(kind, name, digest)
        except LoopGuard as error:
            self.close(Ending.FAIL, error=error)
            raise
        if self.entries >= self.policy.max_entries:
            self.close(Ending.PARK, waits=(_entries_limit(self.policy.max_entries),))
            return value
        if self._failures:
            self._went_on(place)
        match = self.journal.note(place.scope, place.path, kind, name, digest)
        if match.entry is not None:
            self.journal.delivered(place.scope, place.path, match.key)
            # A value too large to be read with the keys is an event's, whose digest is its own.
            return match.entry.value if match.entry.value is not None else value
        place.barrier = self.append(
            Record(
                RecordType.ENTRY, match.key, place.scope, place.path, match.after, kind, name,
                digest, match.occurrence, Promise.READS, EntryState.DONE, 0, value,
            )
        )  # fmt: skip
        self.journal.delivered(place.scope, place.path, match.key)
        return value

    def warn(self, code: str, message: str, *, key: bytes | None = None) -> None:
        log.warning("run %s: %s", self.run_id, message)
        self.append_quietly(
            Record(RecordType.WARNING, key=key, name=code, value=orjson.dumps({"message": message}))
        )

    def output(self, item: Any) -> None:
        """A piece of a streaming agent's output. What a replay repeats was seen already."""
        if not self.replaying and self.closing is None:
            data = b"[" + codec.encode(item, what="streamed item") + b"]"
            self.append_quietly(Record(RecordType.DELTA, kind="output", value=data))

    def note_failure(self, place: Place, key: bytes) -> None:
        self._failures[key] = (place.scope, place.path)

    def _went_on(self, place: Place) -> None:
        """F1: whoever asks for something after a failure has dealt with it."""
        for key, (scope, path) in list(self._failures.items()):
            if scope == place.scope and continues(place.path, path):
                del self._failures[key]

    def void_failures(self) -> list[Record]:
        """Rows that make this attempt's unanswered failures count as never recorded (F1)."""
        return [
            Record(RecordType.ENTRY, key, scope, path, state=EntryState.VOID)
            for key, (scope, path) in self._failures.items()
        ]

    def ended(self, ticket: Live) -> None:
        """A live effect is closed."""
        self._flight.end(ticket)
        self.activity += 1
        if ticket.released is not None and not ticket.released.done():
            ticket.released.set_result(None)
        if self.open_effects:
            crash.reach(crash.Point.SIBLING_IN_FLIGHT)
        if self._hop_due:
            self.close(Ending.HOP)
        if self._waiting is not None:
            self._waiting.consider()

    def suspend(self, ticket: Live) -> None:
        """It waits: that is no effect in flight."""
        self._flight.suspend(ticket)

    def resume(self, ticket: Live) -> None:
        self._flight.resume(ticket)
        self.activity += 1

    async def fetch(self, entry: Entry) -> bytes:
        """An entry's value, wherever it is."""
        value = entry.value
        if value is None and entry.size:
            values = await self.runtime.persist(
                lambda: self.runtime.store.values(self.run_id, [entry.seq])
            )
            value = values[entry.seq]
        return await self.opened(value) or b"null"

    async def opened(self, value: bytes | None) -> bytes | None:
        """``value`` itself where it is a reference to a blob."""
        if value is not None and value[:1] == BLOB:
            return await asyncio.to_thread(self.runtime.blobs.get, value)
        return value

    async def put_blob(self, value: bytes) -> bytes:
        return await asyncio.to_thread(self.runtime.blobs.put, value)

    async def stored(self, value: bytes) -> bytes:
        """``value`` as it goes into the database."""
        return await self.put_blob(value) if len(value) > MAX_INLINE else value

    def chain(self, parts: Sequence[bytes]) -> bytes | None:
        """Store a request as a hash chain of its parts; returns the tip (Z1)."""
        if not self.policy.requests:
            return None
        tip = b""
        new: list[tuple[bytes, bytes, bytes]] = []
        for part in parts:
            parent, tip = tip, node(tip, part)
            if tip not in self._nodes:
                self._nodes.add(tip)
                new.append((tip, parent, part))
        if new:
            self.runtime.recorder.messages(self.run_id, new)
        return tip

    # -- closing ------------------------------------------------------------------------------

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
        if self.closing is not None:
            waiting = self.closing in _PATIENT and not self.cutting
            at_once = ending not in _PATIENT and waiting
            if not at_once and (ending is not Ending.LOST or self.closing is Ending.LOST):
                return
        self.closing = ending
        self.waits, self.error = waits, error
        self._begin_unwinding(within)

    def _begin_unwinding(self, within: timedelta | None) -> None:
        if self._closer is not None:
            self._closer.cancel()
        self._closer = self.loop.create_task(self._unwind(within))

    def _later(self, delay: timedelta, call: Callable[[], None]) -> None:
        self._timers.append(self.loop.call_later(delay.total_seconds(), call))

    def over(self) -> None:
        """Nothing is left to do: let go of timers and tasks, and of all that leads back here, which
        would leave it to the garbage collector."""
        for timer in self._timers:
            timer.cancel()
        if self._closer is not None:
            self._closer.cancel()
        self.task = self._closer = self._waiting = None

    def hop(self, *, within: timedelta | None = None) -> None:
        """End between two effects, to go on elsewhere. Before the first live effect was tried
        there is nothing to go on with: then after it (C6)."""
        if self.tried and (self.open_effects or not self.waiting.waiters):
            self.close(Ending.HOP, within=within)
        else:
            self._hop_due = True
            self.waiting.hurry()
        if within is not None:
            self._later(within, self._cut_short)

    def _cut_short(self) -> None:
        """The time is up for what a park or hop waits for."""
        if self.closing is None:
            self.close(Ending.HOP, within=timedelta(0))
        elif self.closing in _PATIENT and not self.cutting:
            self._begin_unwinding(timedelta(0))

    async def until_cutting(self) -> None:
        """Returns when the agent is being unwound."""
        if not self.cutting:
            future = self.loop.create_future()
            self._until_cutting.append(future)
            try:
                await future
            finally:
                self._until_cutting.remove(future)

    def lost(self) -> None:
        self.close(Ending.LOST)

    def broken(self, error: Exception) -> None:
        self.close(Ending.FAIL, error=error)

    def cancel(self) -> None:
        """The user asked the run to stop: unwind, and let it clean up for a while (C4)."""
        if self.cancelling or self.cutting:
            return
        self.cancelling = True
        self._later(self.policy.cancel_grace, lambda: self.close(Ending.CANCEL))
        if self.closing is not None:
            return  # it is being unwound anyway
        # A thread is told at a boundary, and once: its cleanup may have effects.
        self._raise_cancel_in_thread = not self.waiting.interrupt()
        if self.task is not None and self._inside and not self.agent.sync:
            self.task.cancel()

    async def _unwind(self, within: timedelta | None) -> None:
        if self.closing in _PATIENT:
            try:
                limit = None if within is None else max(within.total_seconds(), 0)
                async with asyncio.timeout(limit):
                    await self._flight.over()
            except TimeoutError:
                pass
            crash.reach(crash.Point.WHILE_PARKING)
            for ticket in self._flight.resting():
                ticket.put_down()
        self.cutting = True
        for future in self._until_cutting:
            if not future.done():
                future.set_result(None)
        threads = self.loop.create_task(self._interrupt_threads())
        pause = 0.0
        while self._inside:
            if self.task is not None and not self.agent.sync:
                self.task.cancel()
            await asyncio.sleep(pause)
            pause = min(pause + 0.001, 0.05)
        self.pumps.cancel()
        await threads

    async def _interrupt_threads(self) -> None:
        await self.until_thread_may_go()
        if self._waiting is not None:
            self._waiting.interrupt()
        if self._crossing is not None:
            self._crossing.interrupt()

    # -- performing ---------------------------------------------------------------------------

    async def load(self) -> None:
        """Read the journal, where there can be one."""
        if self.lease.next_seq > 1:
            entries = await self.runtime.persist(lambda: self.runtime.store.journal(self.run_id))
            self.journal = Journal(entries, changed=self.policy.changed)
            self.entries = len(entries)
            self.replaying = len(self.journal) > 0
            await self.waiting.consumed(entries)

    async def call(self, value: Any) -> Any:
        """Run the agent's code on ``value`` and return what it returns. Raises what it raises;
        ``Parked`` when the attempt was closed meanwhile, whatever the agent made of that."""
        self.task = asyncio.current_task()
        if self.closing is not None:
            raise Parked(str(self.closing))
        if self.cancelling:
            raise RunCancelled("It was cancelled before it began.")
        place = Place(self, b"", "", None)
        if not self.agent.sync:
            place.mine()
        token = current_boundary.set(place)
        self._inside = True
        try:
            return await self.agent.invoke(self, value)
        finally:
            self._inside = False
            self._left.set()
            current_boundary.reset(token)
            if self.cutting:
                self._swallow_cancellation()
                await self._end_stragglers()
                raise Parked(str(self.closing))

    async def finish(self, *, failed: bool = False) -> None:
        """Wait for what still runs after the agent is through: its streams' pumps (C8), and
        effects in flight that it turned away from (C3). Where it failed they are waited for as
        long as they take, because the next attempt would repeat them."""
        self._over = True
        if self._closer is not None and not self.cutting:
            self._closer.cancel()
        if self.closing is Ending.LOST:
            self.pumps.cancel()
        else:
            if self.open_effects:
                await self._flown(failed)
            if self._bodies is not None:
                await self._bodies_ended(self._bodies, failed)
        if self._pumps is not None:
            await self._pumps.ended()
        if any(t is not self.task and not t.done() for t in self.tasks):
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
            log.warning("run %s: a thread of a step or tool did not end", self.run_id)

    async def _flown(self, failed: bool) -> None:
        over = self.loop.create_task(self._flight.over())
        cutting = self.loop.create_task(self.until_cutting())
        try:
            if failed:
                await asyncio.wait({over, cutting}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({over}, timeout=STRAGGLER_SECONDS)
            if not over.done():
                log.warning("run %s: %d effects did not end", self.run_id, self.open_effects)
        finally:
            over.cancel()
            cutting.cancel()

    def _swallow_cancellation(self) -> None:
        assert self.task is not None
        while self.task.cancelling():
            self.task.uncancel()

    async def _end_stragglers(self) -> None:
        """C2: tasks seen at boundaries that outlived the root are cancelled too."""
        self.pumps.cancel()
        rest = {t for t in self.tasks if t is not self.task and not t.done()}
        until = self.loop.time() + STRAGGLER_SECONDS
        while rest and self.loop.time() < until:
            for task in rest:
                task.cancel()
            _, rest = await asyncio.wait(rest, timeout=0.05)
        if rest:
            log.warning("run %s: %d tasks did not end when cancelled", self.run_id, len(rest))

    async def decode_input(self) -> Any:
        value = cast("bytes", await self.opened(self.lease.input))
        return self.agent.decode_input(value)


def _retrieve(future: asyncio.Future[None]) -> None:
    """Rows nobody waits for may fail with the lease; that is dealt with elsewhere."""
    if not future.cancelled():
        future.exception()


def _entries_limit(limit: int) -> Wait:
    return Wait(
        "limit",
        detail=f"the journal has {limit} entries; raise max_entries for the agent, or let it go "
        "on in a new generation with continue_as",
    )
