"""The store's contract. One suite (tests/contract) holds every store to it.

Invariants, whatever the database: every write of an attempt carries its epoch and an old one
writes nothing (L2); a run's log is numbered from 1 without gaps (E1); a settlement, a signal and
a cancel are one transaction each, the first commit wins, and no wake-up is lost (C7); of a
session only the head is claimable (L4); the store's clock is the only clock.

A change of state that the store makes itself (woken, promoted, orphaned, cancelled, resolved,
redriven, or queued instead of parked) appends a ``status`` row: name the new state
(``cancelling`` for a cancel that was only asked for), value JSON with a ``reason``. Adding and
claiming a run write none. A signal appends a ``signal`` row: its name, value ``{"n": n}``.

A store translates its library's errors once: :class:`~perdure.errors.StoreUnavailable` where
trying again may help. A call that raised it may or may not have been carried out; every verb can
be repeated safely. Reading the log or signals of a run that is not there finds nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from perdure.core.charge import Charge
from perdure.core.record import Entry
from perdure.core.shared import Swap, Swapped
from perdure.store.costs import CostFilter, CostRow, Entered
from perdure.store.inspection import Finding, Usage
from perdure.store.retention import Cleared, Doomed, OldPage, Trimmed
from perdure.store.rows import (
    AgentInfo,
    ApiKey,
    Claimed,
    Enqueued,
    Filter,
    LogEvent,
    LogRow,
    Message,
    NewRun,
    QueueStats,
    Refusal,
    Run,
    Settled,
    Settlement,
    Signal,
    Woken,
    WorkerInfo,
)

INLINE_VALUE = 8192  # bytes; longer values are not read with the keys (Z1)


class Membership(ABC):
    """A worker's place among the living (L1, L5). It runs in a thread of its own with connections
    of its own, so that nothing the agent does can lose it; it also watches a neighbour and takes
    over its runs when that one's process dies."""

    @property
    @abstractmethod
    def holds(self) -> bool:
        """Whether this worker may start effects: its lease is fresh and its lock is its own."""

    @abstractmethod
    async def leave(self) -> None:
        """Stop cleanly. The runs it still leases are orphaned at once, without a strike; its
        process lives on, so they are not ``gone``."""


class Store(ABC):
    """See the module's text for what holds for every method."""

    url: str  # for people: without a password

    # -- life ---------------------------------------------------------------------------------

    @abstractmethod
    async def open(self, *, check: bool = True) -> None:
        """Connect. With ``check`` raises SchemaOutdated or SchemaNewer where the schema differs."""

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def schema(self) -> tuple[int, int]:
        """(the database's schema version, 0 for none; the one this Perdure needs)."""

    @abstractmethod
    async def upgrade(self) -> list[str]:
        """Apply the missing migrations in order, under a lock. Returns their names."""

    @abstractmethod
    async def now(self) -> datetime:
        """The store's clock."""

    @abstractmethod
    def shift_clock(self, by: timedelta) -> None:
        """For tests: this object's view of the store's clock moves on by ``by``."""

    # -- wake-ups -----------------------------------------------------------------------------

    @abstractmethod
    def listen(self, topic: str, callback: Callable[[str], None]) -> Callable[[], None]:
        """Call ``callback(payload)`` on the event loop when ``topic`` is told; returns the undo.

        Topics: ``work`` (payload: queue), ``timers``, ``run:<id>`` (its log or state moved; only
        while watched), ``worker:<id>`` (payload: run id; a cancel or signal for a run it holds),
        ``shared`` (payload: the key of a document that others are told of, see ``core.shared``).
        Wake-ups are hints: they may be lost with a connection, after which every callback is
        called once with ``"*"``. Told over all processes that share the store.
        """

    @abstractmethod
    async def watch(self, run_id: str) -> None:
        """Tell ``run:<id>`` of this run's events for the next minute."""

    # -- runs ---------------------------------------------------------------------------------

    @abstractmethod
    async def enqueue(self, runs: Sequence[NewRun]) -> list[Enqueued]:
        """Add runs, one answer each, in order; all or none. Raises IdempotencyMismatch.

        Sessions are a tenant's own. A child run neither queues in a session nor takes a slot of
        a cap. An id that is there already is answered with its state, and with its lease again
        where ``lease_to`` holds it under epoch 1 (the call was repeated)."""

    @abstractmethod
    async def claim(
        self,
        worker: str,
        queues: Sequence[str],
        limit: int,
        *,
        idle: bool,
        root: str | None = None,
    ) -> Claimed:
        """Lease up to ``limit`` ready runs: by priority, then in turn between tenants, then age.

        ``idle``: the worker executes nothing, so it may be given a run that must be alone (L6).
        While it executes that one it is given nothing (``reserved``). Of several queues, each
        tenant has a turn in each. ``root``: only this run, and runs that it or they started."""

    @abstractmethod
    async def journal(self, run_id: str) -> list[Entry]:
        """The entries of the run's present generation, folded, without values over INLINE_VALUE
        bytes."""

    @abstractmethod
    async def values(self, run_id: str, seqs: Sequence[int]) -> dict[int, bytes]:
        """Values of rows by seq."""

    @abstractmethod
    async def record(
        self,
        rows: Sequence[LogRow],
        charges: Sequence[Charge] = (),
        messages: Sequence[Message] = (),
    ) -> list[Refusal]:
        """Write rows of many runs in one commit; returns those not written (L2). A row that is
        already there as given (the call was repeated) counts as written. ``charges`` go into the
        ledger with them, those of refused rows too: the money is gone. ``messages`` are stored with
        them; known ones stay, and those of runs that are not there are left out."""

    @abstractmethod
    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """End attempts. A final state promotes what was blocked behind the run, signals its
        parent, frees its slot.

        The signal's name is ``run:<child id>``; its payload a JSON object: ``state``, ``result``
        (the result's JSON value or null), ``error`` (the failure document or null). A result that
        is not JSON, or longer than INLINE_VALUE, is null there beside ``"result_ref": true``:
        read it from the child. A parent that is final gets none.

        A waiting run wakes at the earliest of ``wake_in``, its waits' ``until`` and its deadline;
        where that has passed already it becomes queued. One that goes on in its ``next``
        generation keeps its id, session, slot, deadline, idempotency key and the signals that
        were not taken. Repeating a call whose answer was lost
        gives the same answer, except that a hop is then answered like a lost lease."""

    @abstractmethod
    async def get(self, run_id: str, *, payloads: bool = True) -> Run:
        """Raises NotFound."""

    @abstractmethod
    async def find(self, filter: Filter) -> list[Run]:
        """Newest first, without input and result."""

    @abstractmethod
    async def events(self, run_id: str, after: int = 0, limit: int = 500) -> list[LogEvent]:
        """The log from ``after`` (exclusive) on, contiguous."""

    @abstractmethod
    async def last_seq(self, run_id: str) -> int: ...

    # -- from outside a run -------------------------------------------------------------------

    @abstractmethod
    async def signal(
        self, run_id: str, name: str, payload: bytes, *, dedupe: str | None = None
    ) -> int:
        """Append a signal; wakes the run if it waits for it. Returns its ``n``. The same
        ``dedupe`` again returns the first one's. Raises NotFound, Conflict (final)."""

    @abstractmethod
    async def signals(self, run_id: str, after: int = 0) -> list[Signal]:
        """Those that no earlier generation took."""

    @abstractmethod
    async def cancel(self, run_id: str, reason: str = "") -> Run:
        """C4: a run that is not running is final at once; a running one is asked to stop.
        Cancelling a cancelled run changes nothing. Raises NotFound, Conflict."""

    @abstractmethod
    async def resolve(self, run_id: str, key: bytes, *, value: bytes | None, who: str = "") -> Run:
        """Answer an uncertain or diverged effect: ``value`` is what it returned (the entry becomes
        ``done``), None means do it again (``void``). Wakes the run. Raises NotFound, and Conflict
        where the run is running or final, or that effect is neither open nor waited for."""

    @abstractmethod
    async def redrive(self, run_id: str) -> Run:
        """A failed or dead run goes on from its journal with fresh attempts and as much time
        until its deadline as at first; one that had to be alone still has to. A waiting one is
        woken to look again (the code, a limit or the world changed). Raises NotFound, Conflict."""

    @abstractmethod
    async def dismiss(self, run_id: str, *, who: str = "") -> Run:
        """Put a dead run aside: it is listed as a dead letter no longer. A redrive undoes it.
        Dismissing a dismissed run changes nothing. Raises NotFound, Conflict (not dead)."""

    # -- workers and maintenance --------------------------------------------------------------

    @abstractmethod
    async def join(
        self,
        worker: WorkerInfo,
        *,
        lease: timedelta,
        grace: timedelta = timedelta(seconds=0.3),
        on_change: Callable[[bool], None] | None = None,
    ) -> Membership:
        """Become a worker. ``on_change(holds)`` is called on the event loop."""

    @abstractmethod
    async def release(self, worker: str) -> int:
        """Orphan every run a worker leases, as after its death (L6 strikes included)."""

    @abstractmethod
    async def workers(self) -> list[dict[str, object]]:
        """The members: ``id, host, pid, version, queues, lease_s, joined_at, seen_at`` (datetimes)
        and ``runs``, how many runs each leases."""

    @abstractmethod
    async def reap(self) -> int:
        """Orphan the runs of workers whose lease ran out, and of such that are no members.
        Returns how many. Strikes count (L6): a run can hang its worker as well as kill it."""

    @abstractmethod
    async def wake_due(self, limit: int = 1000) -> Woken:
        """Queue the waiting runs whose time has come."""

    @abstractmethod
    async def lead(self, worker: str, ttl: timedelta) -> bool:
        """Be, or stay, the one leader; another takes over when ``ttl`` passed or it left."""

    @abstractmethod
    async def stats(self) -> list[QueueStats]: ...

    @abstractmethod
    async def announce(self, agents: Sequence[AgentInfo]) -> None: ...

    @abstractmethod
    async def agents(self) -> list[AgentInfo]: ...

    # -- retention ----------------------------------------------------------------------------

    @abstractmethod
    async def old_runs(self, after: int, before: datetime, limit: int = 1000) -> OldPage:
        """Of the next ``limit`` runs after the place ``after`` (0: the first), the oldest first:
        those that begin a family and ended before ``before``."""

    @abstractmethod
    async def forget(self, families: Sequence[Doomed], *, dry: bool = False) -> int:
        """Delete families that are final, old enough and not held by an idempotency key (X3);
        returns how many runs that are. They are gone at once; what they had, a ``clear`` later.
        ``dry``: only count them."""

    @abstractmethod
    async def clear(self, limit: int = 1000) -> Cleared:
        """Delete a portion of what forgotten runs left behind: about ``limit`` rows, and some MB
        at most, in one short transaction. Any number of processes may do so at once."""

    @abstractmethod
    async def trim(self, after: int, before: datetime, limit: int = 1000) -> Trimmed:
        """Delete a portion, as ``clear`` does, of what was written before ``before`` into the logs
        of earlier generations, from the run after the place ``after`` (0: the first) on."""

    @abstractmethod
    async def referenced(self, references: Sequence[bytes]) -> set[bytes]:
        """Which of these blobs some row refers to."""

    @abstractmethod
    async def references(self, after: bytes = b"", limit: int = 1000) -> list[bytes]:
        """The next references to blobs after this one, in order, each once."""

    # -- looking after it ---------------------------------------------------------------------

    @abstractmethod
    async def inspect(self) -> list[Finding]:
        """What should not be (see ``perdure.store.inspection``). It reads everything but values,
        a little at a time."""

    @abstractmethod
    async def mend(self, finding: Finding) -> bool:
        """Repair what is safe to repair, if it is still so; returns whether it was. What is to be
        deleted goes with the next ``clear``."""

    @abstractmethod
    async def usage(self) -> Usage:
        """What takes how much space, and which runs there are."""

    @abstractmethod
    async def back_up(self, file: Path) -> list[bytes]:
        """Copy the database to a new file while it is in use, as it is at one moment; returns the
        references to blobs in the copy. Raises Conflict where the file is there, UsageError where
        the database has tools of its own."""

    # -- the gateway's --------------------------------------------------------------------------

    @abstractmethod
    async def swap(self, reads: Sequence[str], swaps: Sequence[Swap] = ()) -> Swapped:
        """See ``core.shared.Shared``, which every store is."""

    @abstractmethod
    async def listed(self, prefix: str, limit: int = 1000) -> Swapped:
        """See ``core.shared.Shared``."""

    @abstractmethod
    async def remember(self, key: bytes, value: bytes, ttl: timedelta) -> None:
        """Keep an answer for others who ask the same, in place of an earlier one."""

    @abstractmethod
    async def recall(self, key: bytes) -> bytes | None:
        """What is remembered under ``key`` and not older than its ``ttl``."""

    @abstractmethod
    async def lapse(self, limit: int = 100) -> Cleared:
        """Delete up to ``limit`` answers that are older than their ``ttl``, the oldest first."""

    @abstractmethod
    async def charge(self, charges: Sequence[Charge]) -> None:
        """Add to the ledger. A charge whose ``id`` its run has already stays as it is."""

    @abstractmethod
    async def costs(self, asked: CostFilter) -> list[CostRow]:
        """Sums of the ledger."""

    @abstractmethod
    async def charges(self, asked: CostFilter) -> list[Entered]:
        """The ledger's rows themselves, the newest first; ``asked.by`` counts for nothing."""

    @abstractmethod
    async def expire(self, before: datetime, limit: int = 1000, *, dry: bool = False) -> Cleared:
        """Delete about ``limit`` rows of the ledger that were written before ``before``, the oldest
        first. ``dry``: count all of them, delete none."""

    # -- requests (Z1) ------------------------------------------------------------------------

    @abstractmethod
    async def get_messages(self, run_id: str, tip: bytes) -> list[bytes]:
        """The bodies from the chain's beginning to ``tip``. Raises NotFound."""

    # -- keys ---------------------------------------------------------------------------------

    @abstractmethod
    async def add_key(self, key: ApiKey) -> None:
        """Raises Conflict where the id is taken by another secret."""

    @abstractmethod
    async def key(self, key_id: str) -> ApiKey | None: ...

    @abstractmethod
    async def keys(self) -> list[ApiKey]: ...

    @abstractmethod
    async def revoke_key(self, key_id: str) -> None:
        """Raises NotFound."""

    @abstractmethod
    async def touch_key(self, key_id: str) -> None:
        """Note the last use."""
