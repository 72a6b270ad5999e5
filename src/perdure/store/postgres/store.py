"""The PostgreSQL store: one database, shared by any number of processes and hosts.

What a verb does is a function in the database (``migrations/postgres``), one statement and one
transaction; this class only says over which connection it goes: the group commit has one of its
own, listening another, everything else shares a few.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from perdure.core.charge import Charge
from perdure.core.record import Entry
from perdure.core.shared import Swap, Swapped
from perdure.errors import UsageError
from perdure.store import migrations
from perdure.store.base import Membership, Store
from perdure.store.costs import CostFilter, CostRow, Entered
from perdure.store.inspection import Finding, Usage
from perdure.store.postgres import schema
from perdure.store.postgres.address import Address
from perdure.store.postgres.link import Clock, Link, Pool, closed
from perdure.store.postgres.membership import LockMembership
from perdure.store.postgres.verbs import (
    answers,
    attempts,
    catalog,
    enqueue,
    inspection,
    ledger,
    outside,
    retention,
    shared,
    upkeep,
)
from perdure.store.postgres.wakes import Wakes
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

LINKS = 8  # connections that general verbs share, made as they are needed


class PostgresStore(Store):
    """See ``Store`` for every method. ``url``: ``postgresql://user:password@host/database``, with
    libpq's options. Raises ConfigError for any other. It belongs to the event loop that opens
    it."""

    def __init__(self, url: str) -> None:
        self._address = Address.parse(url)
        self.url = self._address.url
        self._clock = Clock()
        self._pool = Pool(self._address, self._clock, LINKS)
        self._commit: Link | None = None
        self._wakes = Wakes(self._address)
        self._memberships: set[LockMembership] = set()

    @property
    def _journal(self) -> Link:
        if self._commit is None:
            raise closed()
        return self._commit

    # -- life ---------------------------------------------------------------------------------

    async def open(self, *, check: bool = True) -> None:
        self._pool.open()
        self._commit = Link(self._address, self._clock)
        try:
            version, _ = await self.schema()
            if check:
                migrations.check(schema.DIALECT, version)
            await self._wakes.open()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        try:
            for membership in list(self._memberships):
                await membership.leave()
        finally:
            await self._wakes.close()
            commit, self._commit = self._commit, None
            if commit is not None:
                await commit.close()
            await self._pool.close()

    async def schema(self) -> tuple[int, int]:
        return await self._pool.use(schema.read_version), migrations.needed(schema.DIALECT)

    async def upgrade(self) -> list[str]:
        return await self._pool.use(schema.upgrade)

    async def now(self) -> datetime:
        found: datetime = await self._pool.value("select clock_timestamp()")
        return found + self._clock.shift

    def shift_clock(self, by: timedelta) -> None:
        self._clock.shift += by

    # -- wake-ups -----------------------------------------------------------------------------

    def listen(self, topic: str, callback: Callable[[str], None]) -> Callable[[], None]:
        return self._wakes.listen(topic, callback)

    async def watch(self, run_id: str) -> None:
        await outside.watch(self._pool, run_id)

    # -- runs ---------------------------------------------------------------------------------

    async def enqueue(self, runs: Sequence[NewRun]) -> list[Enqueued]:
        return await enqueue.enqueue(self._pool, runs)

    async def claim(
        self,
        worker: str,
        queues: Sequence[str],
        limit: int,
        *,
        idle: bool,
        root: str | None = None,
    ) -> Claimed:
        return await attempts.claim(self._pool, worker, queues, limit, idle, root)

    async def journal(self, run_id: str) -> list[Entry]:
        return await attempts.journal(self._pool, run_id)

    async def values(self, run_id: str, seqs: Sequence[int]) -> dict[int, bytes]:
        return await attempts.values(self._pool, run_id, seqs)

    async def record(
        self,
        rows: Sequence[LogRow],
        charges: Sequence[Charge] = (),
        messages: Sequence[Message] = (),
    ) -> list[Refusal]:
        return await attempts.record(self._journal, rows, charges, messages)

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        return await attempts.settle(self._journal, settlements)

    async def get(self, run_id: str, *, payloads: bool = True) -> Run:
        return await catalog.get(self._pool, run_id, payloads)

    async def find(self, filter: Filter) -> list[Run]:
        return await catalog.find(self._pool, filter)

    async def events(self, run_id: str, after: int = 0, limit: int = 500) -> list[LogEvent]:
        return await attempts.events(self._pool, run_id, after, limit)

    async def last_seq(self, run_id: str) -> int:
        return await attempts.last_seq(self._pool, run_id)

    # -- from outside a run -------------------------------------------------------------------

    async def signal(
        self, run_id: str, name: str, payload: bytes, *, dedupe: str | None = None
    ) -> int:
        return await outside.signal(self._pool, run_id, name, payload, dedupe)

    async def signals(self, run_id: str, after: int = 0) -> list[Signal]:
        return await outside.signals(self._pool, run_id, after)

    async def cancel(self, run_id: str, reason: str = "") -> Run:
        return await outside.cancel(self._pool, run_id, reason)

    async def resolve(self, run_id: str, key: bytes, *, value: bytes | None, who: str = "") -> Run:
        return await outside.resolve(self._pool, run_id, key, value, who)

    async def redrive(self, run_id: str) -> Run:
        return await outside.redrive(self._pool, run_id)

    async def dismiss(self, run_id: str, *, who: str = "") -> Run:
        return await outside.dismiss(self._pool, run_id, who)

    # -- workers and maintenance --------------------------------------------------------------

    async def join(
        self,
        worker: WorkerInfo,
        *,
        lease: timedelta,
        grace: timedelta = timedelta(seconds=0.3),
        on_change: Callable[[bool], None] | None = None,
    ) -> Membership:
        membership = LockMembership(
            self._address,
            self._clock,
            worker,
            lease=lease,
            grace=grace,
            on_change=on_change,
            left=self._memberships.discard,
        )
        await membership.join()
        self._memberships.add(membership)
        return membership

    async def release(self, worker: str) -> int:
        return await upkeep.release(self._pool, worker, died=True, gone=True)

    async def workers(self) -> list[dict[str, object]]:
        return await upkeep.workers(self._pool)

    async def reap(self) -> int:
        mine = [membership.worker.id for membership in self._memberships]
        return await upkeep.reap(self._pool, mine, self._clock.blind)

    async def wake_due(self, limit: int = 1000) -> Woken:
        return await upkeep.wake_due(self._pool, limit)

    async def lead(self, worker: str, ttl: timedelta) -> bool:
        return await upkeep.lead(self._pool, worker, ttl)

    async def stats(self) -> list[QueueStats]:
        return await upkeep.stats(self._pool)

    async def announce(self, agents: Sequence[AgentInfo]) -> None:
        await catalog.announce(self._pool, agents)

    async def agents(self) -> list[AgentInfo]:
        return await catalog.agents(self._pool)

    # -- retention ----------------------------------------------------------------------------

    async def old_runs(self, after: int, before: datetime, limit: int = 1000) -> OldPage:
        return await retention.old_runs(self._pool, after, before, limit)

    async def forget(self, families: Sequence[Doomed], *, dry: bool = False) -> int:
        return await retention.forget(self._pool, families, dry)

    async def clear(self, limit: int = 1000) -> Cleared:
        return await retention.clear(self._pool, limit)

    async def trim(self, after: int, before: datetime, limit: int = 1000) -> Trimmed:
        return await retention.trim(self._pool, after, before, limit)

    async def referenced(self, references: Sequence[bytes]) -> set[bytes]:
        return await retention.referenced(self._pool, references)

    async def references(self, after: bytes = b"", limit: int = 1000) -> list[bytes]:
        return await retention.references(self._pool, after, limit)

    # -- looking after it ---------------------------------------------------------------------

    async def inspect(self) -> list[Finding]:
        return await inspection.inspect(self._pool)

    async def mend(self, finding: Finding) -> bool:
        return await inspection.mend(self._pool, finding)

    async def usage(self) -> Usage:
        return await inspection.usage(self._pool)

    async def back_up(self, file: Path) -> list[bytes]:
        raise UsageError(
            "A PostgreSQL database is copied by PostgreSQL's own tools.",
            hint="pg_dump --format=custom --schema=perdure --file=FILE URL",
        )

    # -- the gateway's --------------------------------------------------------------------------

    async def swap(self, reads: Sequence[str], swaps: Sequence[Swap] = ()) -> Swapped:
        return await shared.swap(self._pool, reads, swaps)

    async def listed(self, prefix: str, limit: int = 1000) -> Swapped:
        return await shared.listed(self._pool, prefix, limit)

    async def remember(self, key: bytes, value: bytes, ttl: timedelta) -> None:
        await answers.remember(self._pool, key, value, ttl)

    async def recall(self, key: bytes) -> bytes | None:
        return await answers.recall(self._pool, key)

    async def lapse(self, limit: int = 100) -> Cleared:
        return await answers.lapse(self._pool, limit)

    async def charge(self, charges: Sequence[Charge]) -> None:
        await ledger.charge(self._pool, charges)

    async def costs(self, asked: CostFilter) -> list[CostRow]:
        return await ledger.costs(self._pool, asked)

    async def charges(self, asked: CostFilter) -> list[Entered]:
        return await ledger.charges(self._pool, asked)

    async def expire(self, before: datetime, limit: int = 1000, *, dry: bool = False) -> Cleared:
        return await ledger.expire(self._pool, before, limit, dry)

    # -- requests (Z1) ------------------------------------------------------------------------

    async def get_messages(self, run_id: str, tip: bytes) -> list[bytes]:
        return await catalog.get_messages(self._pool, run_id, tip)

    # -- keys ---------------------------------------------------------------------------------

    async def add_key(self, key: ApiKey) -> None:
        await catalog.add_key(self._pool, key)

    async def key(self, key_id: str) -> ApiKey | None:
        return await catalog.key(self._pool, key_id)

    async def keys(self) -> list[ApiKey]:
        return await catalog.keys(self._pool)

    async def revoke_key(self, key_id: str) -> None:
        await catalog.revoke_key(self._pool, key_id)

    async def touch_key(self, key_id: str) -> None:
        await catalog.touch_key(self._pool, key_id)
