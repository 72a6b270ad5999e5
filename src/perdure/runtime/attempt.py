"""One try at a run, from claim to settlement.

The agent runs in the attempt's own task. An attempt ends because the agent returned or raised, or
because it is closed (``closing``) from within or without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

from perdure.codec import BLOB
from perdure.core import crash
from perdure.core.branch import continues, under
from perdure.core.guard import Guard
from perdure.core.matching import Journal, Match, Verdict
from perdure.core.ports import Ticket, current_boundary
from perdure.core.record import Entry, EntryState, Kind, Promise, Record, RecordType
from perdure.errors import LoopGuard, Parked, RunCancelled
from perdure.runtime.closing import Closing, Ending
from perdure.runtime.crossing import Crossing
from perdure.runtime.flight import Flight
from perdure.runtime.pen import Pen
from perdure.runtime.place import Place
from perdure.runtime.pumps import Pumps
from perdure.runtime.ticket import Live, Recorded
from perdure.runtime.waiting import Waiting
from perdure.store.blobs import MAX_INLINE
from perdure.store.rows import Lease, Wait

if TYPE_CHECKING:
    from perdure.runtime.agent import Agent
    from perdure.runtime.runtime import Runtime

UNSURE_SECONDS = 1.0  # without any replayed answer, before a change of the agent is believed


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
        self.runtime = runtime
        self.loop = asyncio.get_running_loop()
        self.policy = agent.policy
        self.namer: Callable[[], str | None] | None = agent.namer
        self.closing = Closing(self)
        self.pen = Pen(lease, runtime, self.closing)
        self.journal = Journal(changed=self.policy.changed, generation=lease.generation)
        self.guard = Guard(self.policy.limits)
        self.flight = Flight()
        # Made when they are needed: most runs have none of these.
        self._waiting: Waiting | None = None
        self._pumps: Pumps | None = None
        self._bodies: Pumps | None = None
        self._crossing: Crossing | None = None
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self.replaying = False  # no live effect yet and entries are left to replay
        self.tried = False  # a live effect was tried (C6)
        self.activity = 0
        # Told of each request whether it goes out: adapters stream only what is new (E1).
        self.on_request: Callable[[Place, bool], None] | None = None
        self.left = False  # its worker waits for it no longer
        self._failures: dict[bytes, tuple[bytes, str]] = {}
        self._named: dict[tuple[bytes, str], Place] = {}
        self._unsure: list[asyncio.Future[None]] = []
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

    @property
    def has_pumps(self) -> bool:
        return self._pumps is not None

    @property
    def has_bodies(self) -> bool:
        return self._bodies is not None

    # -- facts --------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The store's time, as this attempt knows it."""
        return self._clock_base + timedelta(seconds=self.loop.time() - self._clock_zero)

    @property
    def life(self) -> str:
        """What the state that a framework keeps elsewhere is to be called by: the run, and which
        generation of it where it is not the first."""
        generation = self.lease.generation
        return self.run_id if generation == 1 else f"{self.run_id}.{generation}"

    @property
    def void(self) -> bool:
        """Whether what the agent does from now on counts for nothing: it is being unwound."""
        return self.closing.cutting or self.closing.ending is Ending.LOST

    @property
    def open_effects(self) -> int:
        return len(self.flight)

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
        await self.pen.written()
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
        if self.closing.forbids(once=place.once):
            await self.block(foreign, place)
        if foreign:
            self.closing.tell_thread()
        self.activity += 1
        try:
            self.guard.admit(kind, name, digest)
        except LoopGuard as error:
            self.closing.close(Ending.FAIL, error=error)
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
            if self.closing.forbids(once=place.once):
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
            same = (kind, name) == (entry.kind, entry.name)
            other = f"where {entry.kind} {entry.name!r} is recorded"
            other = "with other arguments than recorded" if same else other
            self.closing.close(
                Ending.PARK,
                waits=(
                    Wait(
                        "diverged",
                        key=entry.key.hex(),
                        detail=f"the agent now asks for {kind} {name!r} {other}",
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
            self.pen.warn(
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
            if self.closing.forbids(once=place.once):
                await self.block(foreign, place)
        if self.pen.entries >= self.policy.max_entries:
            self.closing.close(Ending.PARK, waits=(_entries_limit(self.policy.max_entries),))
            await self.block(foreign, place)
        self.tried = True
        self.replaying = False
        ticket = Live(self, place, match, kind, name, digest, promise)
        if match.verdict is Verdict.INTENT and match.entry is not None:
            ticket.intended = match.entry
            ticket.intended_value = await self.fetch(match.entry)
        self.flight.begin(ticket)
        if streamed:
            ticket.released = place.stream = self.loop.create_future()
        if kind == Kind.MODEL:
            self.pen.append_quietly(
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

    async def block(self, foreign: bool, place: Place) -> None:
        """A boundary of a closing attempt never returns: the agent is unwound meanwhile."""
        self.flight.rest(place.effect)
        if foreign:
            await self.closing.until_thread_may_go()
            raise Parked("the attempt is over")
        await self.loop.create_future()

    # -- recording ----------------------------------------------------------------------------

    def note(self, place: Place, kind: str, name: str, digest: bytes, value: bytes) -> bytes:
        """A cheap effect that is known at once (clock, random, emit): returns the recorded
        value, or records this one. It is durable before the branch's next effect goes out."""
        if self.closing.ending is not None:
            return value
        try:
            self.guard.admit(kind, name, digest)
        except LoopGuard as error:
            self.closing.close(Ending.FAIL, error=error)
            raise
        if self.pen.entries >= self.policy.max_entries:
            self.closing.close(Ending.PARK, waits=(_entries_limit(self.policy.max_entries),))
            return value
        if self._failures:
            self._went_on(place)
        match = self.journal.note(place.scope, place.path, kind, name, digest)
        if match.entry is not None:
            self.journal.delivered(place.scope, place.path, match.key)
            # A value too large to be read with the keys is an event's, whose digest is its own.
            return match.entry.value if match.entry.value is not None else value
        place.barrier = self.pen.append(
            Record(
                RecordType.ENTRY, match.key, place.scope, place.path, match.after, kind, name,
                digest, match.occurrence, Promise.READS, EntryState.DONE, 0, value,
            )
        )  # fmt: skip
        self.journal.delivered(place.scope, place.path, match.key)
        return value

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
        self.flight.end(ticket)
        self.activity += 1
        if ticket.released is not None and not ticket.released.done():
            ticket.released.set_result(None)
        if self.open_effects:
            crash.reach(crash.Point.SIBLING_IN_FLIGHT)
        self.closing.effect_ended()
        if self._waiting is not None:
            self._waiting.consider()

    def suspend(self, ticket: Live) -> None:
        """It waits: that is no effect in flight."""
        self.flight.suspend(ticket)

    def resume(self, ticket: Live) -> None:
        self.flight.resume(ticket)
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
            reference = value
            # Not asyncio.to_thread: what happens there is no doing of the agent's.
            return await self.runtime.persist(
                lambda: self.loop.run_in_executor(None, self.runtime.blobs.get, reference)
            )
        return value

    async def put_blob(self, value: bytes) -> bytes:
        return await self.runtime.persist(
            lambda: self.loop.run_in_executor(None, self.runtime.blobs.put, value)
        )

    async def stored(self, value: bytes) -> bytes:
        """``value`` as it goes into the database."""
        return await self.put_blob(value) if len(value) > MAX_INLINE else value

    # -- performing ---------------------------------------------------------------------------

    async def load(self) -> None:
        """Read the journal, where there can be one."""
        if self.lease.next_seq > 1:
            entries = await self.runtime.persist(lambda: self.runtime.store.journal(self.run_id))
            self.journal = Journal(
                entries, changed=self.policy.changed, generation=self.lease.generation
            )
            self.pen.entries = len(entries)
            self.replaying = len(self.journal) > 0
            await self.waiting.consumed(entries)

    async def call(self, value: Any) -> Any:
        """Run the agent's code on ``value`` and return what it returns. Raises what it raises;
        ``Parked`` when the attempt was closed meanwhile, whatever the agent made of that."""
        closing = self.closing
        closing.task = asyncio.current_task()
        if closing.ending is not None:
            raise Parked(str(closing.ending))
        if closing.cancelling:
            raise RunCancelled("It was cancelled before it began.")
        place = Place(self, b"", "", None)
        if not self.agent.sync:
            place.mine()
        token = current_boundary.set(place)
        try:
            with closing.inside():
                return await self.agent.invoke(self, value)
        finally:
            current_boundary.reset(token)
            if closing.cutting:
                await closing.unwound()
                raise Parked(str(closing.ending))

    def output(self, item: Any) -> None:
        """A piece of a streaming agent's output. What a replay repeats was seen already."""
        if not self.replaying and self.closing.ending is None:
            self.pen.output(item)

    def over(self) -> None:
        """Nothing is left to do: whatever leads back here would leave it to the garbage
        collector."""
        self.closing.over()
        self._waiting = None

    async def decode_input(self) -> Any:
        value = cast("bytes", await self.opened(self.lease.input))
        return self.agent.decode_input(value)


def _entries_limit(limit: int) -> Wait:
    return Wait(
        "limit",
        detail=f"the journal has {limit} entries; raise max_entries for the agent, or let it go "
        "on in a new generation with continue_as",
    )
