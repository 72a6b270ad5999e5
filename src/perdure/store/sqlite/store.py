"""The SQLite store: one file, shared by any number of processes of one machine.

Each verb is a function over a transaction or a reader's connection (``verbs``); this class only
says where it runs. Writes go through the process's one writer, but for small ones that nobody waits
for the disk with (``Shortcut``); reads through threads of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from perdure.core.charge import Charge
from perdure.core.record import Entry
from perdure.core.shared import Swap, Swapped, light
from perdure.errors import SchemaOutdated
from perdure.store import migrations
from perdure.store.base import Membership, Store
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
from perdure.store.sqlite import backup, schema
from perdure.store.sqlite.columns import from_time, micros, to_time
from perdure.store.sqlite.connection import (
    DIALECT,
    Address,
    Clock,
    check_version,
    create_folder,
    read_version,
)
from perdure.store.sqlite.membership import FileMembership, Places
from perdure.store.sqlite.readers import Readers
from perdure.store.sqlite.reap import reap
from perdure.store.sqlite.shortcut import Occupied, Shortcut
from perdure.store.sqlite.verbs import (
    answers,
    catalog,
    claim,
    enqueue,
    inspection,
    ledger,
    log,
    outside,
    retention,
    settle,
    shared,
    upkeep,
)
from perdure.store.sqlite.wakes import Wakes
from perdure.store.sqlite.writer import Transaction, Writer

T = TypeVar("T")
FEW = 16  # charges that are written at once


class SqliteStore(Store):
    """See ``Store`` for every method. ``url``: ``sqlite:///relative.db`` or
    ``sqlite:////absolute/path.db``. Raises ConfigError for any other."""

    def __init__(self, url: str) -> None:
        self._address = Address.parse(url)
        self.url = url
        self._clock = Clock()
        self._wakes = Wakes(self._address)
        self._writer = Writer(self._address, self._clock, self._wakes.told)
        self._shortcut = Shortcut(self._address, self._clock)
        self._readers = Readers(self._address)
        self._places = Places(self._address)
        self._memberships: list[FileMembership] = []

    # -- life ---------------------------------------------------------------------------------

    async def open(self, *, check: bool = True) -> None:
        if check and not self._address.path.exists():
            # Looking at a database must not make an empty one.
            raise SchemaOutdated(f"There is no database at {self._address.path} yet.")
        create_folder(self._address)
        await self._writer.start()
        try:
            await asyncio.to_thread(self._shortcut.open)
            self._readers.start()
            if check:
                await self._readers.read(check_version)
            await self._wakes.open()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        try:
            for membership in list(self._memberships):
                await membership.leave()
        finally:
            await asyncio.to_thread(self._shortcut.close)
            await self._writer.stop()
            await self._readers.stop()
            self._wakes.close()

    async def schema(self) -> tuple[int, int]:
        return await self._readers.read(read_version), migrations.needed(DIALECT)

    async def upgrade(self) -> list[str]:
        return await self._writer.write(schema.upgrade)

    async def now(self) -> datetime:
        return to_time(self._clock())

    def shift_clock(self, by: timedelta) -> None:
        self._clock.shift += micros(by)

    # -- wake-ups -----------------------------------------------------------------------------

    def listen(self, topic: str, callback: Callable[[str], None]) -> Callable[[], None]:
        return self._wakes.listen(topic, callback)

    async def watch(self, run_id: str) -> None:
        await self._writer.write(lambda tx: outside.watch(tx, run_id))

    # -- runs ---------------------------------------------------------------------------------

    async def enqueue(self, runs: Sequence[NewRun]) -> list[Enqueued]:
        return await self._writer.write(lambda tx: enqueue.enqueue(tx, runs))

    async def claim(
        self,
        worker: str,
        queues: Sequence[str],
        limit: int,
        *,
        idle: bool,
        root: str | None = None,
    ) -> Claimed:
        return await self._writer.write(
            lambda tx: claim.claim(tx, worker, queues, limit, idle, root)
        )

    async def journal(self, run_id: str) -> list[Entry]:
        return await self._readers.read(lambda link: log.journal(link, run_id))

    async def values(self, run_id: str, seqs: Sequence[int]) -> dict[int, bytes]:
        return await self._readers.read(lambda link: log.values(link, run_id, seqs))

    async def record(
        self,
        rows: Sequence[LogRow],
        charges: Sequence[Charge] = (),
        messages: Sequence[Message] = (),
    ) -> list[Refusal]:
        if not charges and not messages:
            return await self._writer.write(lambda tx: log.record(tx, rows))

        def together(tx: Transaction) -> list[Refusal]:
            ledger.charge(tx, charges)
            catalog.put_messages(tx, messages)
            return log.record(tx, rows)

        return await self._writer.write(together)

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        return await self._writer.write(lambda tx: settle.settle(tx, settlements))

    async def get(self, run_id: str, *, payloads: bool = True) -> Run:
        return await self._readers.read(lambda link: catalog.get(link, run_id, payloads))

    async def find(self, filter: Filter) -> list[Run]:
        return await self._readers.read(lambda link: catalog.find(link, filter))

    async def events(self, run_id: str, after: int = 0, limit: int = 500) -> list[LogEvent]:
        return await self._readers.read(lambda link: log.events(link, run_id, after, limit))

    async def last_seq(self, run_id: str) -> int:
        return await self._readers.read(lambda link: log.last_seq(link, run_id))

    # -- from outside a run -------------------------------------------------------------------

    async def signal(
        self, run_id: str, name: str, payload: bytes, *, dedupe: str | None = None
    ) -> int:
        return await self._writer.write(
            lambda tx: outside.signal(tx, run_id, name, payload, dedupe)
        )

    async def signals(self, run_id: str, after: int = 0) -> list[Signal]:
        return await self._readers.read(lambda link: catalog.signals(link, run_id, after))

    async def cancel(self, run_id: str, reason: str = "") -> Run:
        return await self._change(run_id, lambda tx: outside.cancel(tx, run_id, reason))

    async def resolve(self, run_id: str, key: bytes, *, value: bytes | None, who: str = "") -> Run:
        return await self._change(run_id, lambda tx: outside.resolve(tx, run_id, key, value, who))

    async def redrive(self, run_id: str) -> Run:
        return await self._change(run_id, lambda tx: outside.redrive(tx, run_id))

    async def dismiss(self, run_id: str, *, who: str = "") -> Run:
        return await self._change(run_id, lambda tx: outside.dismiss(tx, run_id, who))

    async def _change(self, run_id: str, body: Callable[[Transaction], None]) -> Run:
        def change(tx: Transaction) -> Run:
            body(tx)
            return catalog.get(tx.link, run_id, True)

        return await self._writer.write(change)

    # -- workers and maintenance --------------------------------------------------------------

    async def join(
        self,
        worker: WorkerInfo,
        *,
        lease: timedelta,
        grace: timedelta = timedelta(seconds=0.3),
        on_change: Callable[[bool], None] | None = None,
    ) -> Membership:
        membership = FileMembership(
            self._writer,
            self._wakes,
            self._clock,
            self._places,
            worker,
            lease=lease,
            on_change=on_change,
            left=self._memberships.remove,
        )
        await membership.join()
        self._memberships.append(membership)
        return membership

    async def release(self, worker: str) -> int:
        count = await self._writer.write(
            lambda tx: upkeep.release(tx, worker, died=True, gone=True)
        )
        self._places.remove(worker)  # if it lives after all, it finds out by this
        return count

    async def workers(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for member in await self._readers.read(upkeep.members):
            member["lease_s"] = member.pop("lease") / 1_000_000
            member["joined_at"] = to_time(member["joined_at"])
            member["seen_at"] = to_time(self._places.seen(member["id"]))
            found.append(member)
        return found

    async def reap(self) -> int:
        members = await self._readers.read(upkeep.members)
        strangers, keys = await self._readers.read(lambda link: upkeep.chores(link, self._clock()))
        if keys:
            await self._writer.write(upkeep.forget_keys)
        count = await reap(self._writer, self._places, self._clock, members, self._memberships)
        if strangers:
            count += await self._writer.write(upkeep.release_strangers)
        return count

    async def wake_due(self, limit: int = 1000) -> Woken:
        return await self._writer.write(lambda tx: upkeep.wake_due(tx, limit))

    async def lead(self, worker: str, ttl: timedelta) -> bool:
        return await self._writer.write(lambda tx: upkeep.lead(tx, worker, ttl))

    async def stats(self) -> list[QueueStats]:
        return await self._readers.read(lambda link: upkeep.stats(link, self._clock()))

    async def announce(self, agents: Sequence[AgentInfo]) -> None:
        await self._writer.write(lambda tx: catalog.announce(tx, agents))

    async def agents(self) -> list[AgentInfo]:
        return await self._readers.read(catalog.agents)

    # -- retention ----------------------------------------------------------------------------

    async def old_runs(self, after: int, before: datetime, limit: int = 1000) -> OldPage:
        at = from_time(before)
        return await self._readers.read(lambda link: retention.old_runs(link, after, at, limit))

    async def forget(self, families: Sequence[Doomed], *, dry: bool = False) -> int:
        if dry:
            at = self._clock()
            return await self._readers.read(lambda link: retention.may_go(link, families, at))
        return await self._writer.write(lambda tx: retention.forget(tx, families))

    async def clear(self, limit: int = 1000) -> Cleared:
        return await self._writer.write(lambda tx: retention.clear(tx, limit))

    async def trim(self, after: int, before: datetime, limit: int = 1000) -> Trimmed:
        at = from_time(before)
        return await self._writer.write(lambda tx: retention.trim(tx, after, at, limit))

    async def referenced(self, references: Sequence[bytes]) -> set[bytes]:
        return await self._readers.read(lambda link: retention.referenced(link, references))

    async def references(self, after: bytes = b"", limit: int = 1000) -> list[bytes]:
        return await self._readers.read(lambda link: retention.references(link, after, limit))

    # -- looking after it ---------------------------------------------------------------------

    async def inspect(self) -> list[Finding]:
        return await self._readers.read(lambda link: inspection.inspect(link, self._clock()))

    async def mend(self, finding: Finding) -> bool:
        return await self._writer.write(lambda tx: inspection.mend(tx, finding))

    async def usage(self) -> Usage:
        return await self._readers.read(inspection.usage)

    async def back_up(self, file: Path) -> list[bytes]:
        return await self._readers.read(lambda link: backup.back_up(link, file))

    # -- the gateway's --------------------------------------------------------------------------

    async def swap(self, reads: Sequence[str], swaps: Sequence[Swap] = ()) -> Swapped:
        if not swaps:
            return await self._readers.read(lambda link: shared.read(link, reads, self._clock))
        write = self._at_once if light(swaps) else self._writer.write
        return await write(lambda tx: shared.swap(tx, reads, swaps))

    async def _at_once(self, body: Callable[[Transaction], T]) -> T:
        """What need not be on the disk to count."""
        try:
            return self._shortcut.write(body)
        except Occupied:
            result = await self._writer.write(body)
            self._shortcut.turned()
            return result

    async def listed(self, prefix: str, limit: int = 1000) -> Swapped:
        return await self._readers.read(
            lambda link: shared.listed(link, prefix, limit, self._clock)
        )

    async def remember(self, key: bytes, value: bytes, ttl: timedelta) -> None:
        await self._writer.write(lambda tx: answers.remember(tx, key, value, micros(ttl)))

    async def recall(self, key: bytes) -> bytes | None:
        return await self._readers.read(lambda link: answers.recall(link, key, self._clock()))

    async def lapse(self, limit: int = 100) -> Cleared:
        return await self._writer.write(lambda tx: answers.lapse(tx, limit))

    async def charge(self, charges: Sequence[Charge]) -> None:
        write = self._at_once if len(charges) <= FEW else self._writer.write
        await write(lambda tx: ledger.charge(tx, charges))

    async def costs(self, asked: CostFilter) -> list[CostRow]:
        return await self._readers.read(lambda link: ledger.costs(link, asked))

    async def charges(self, asked: CostFilter) -> list[Entered]:
        return await self._readers.read(lambda link: ledger.charges(link, asked))

    async def expire(self, before: datetime, limit: int = 1000, *, dry: bool = False) -> Cleared:
        at = from_time(before)
        if dry:
            return await self._readers.read(lambda link: ledger.count_before(link, at))
        return await self._writer.write(lambda tx: ledger.expire(tx, at, limit))

    # -- requests (Z1) ------------------------------------------------------------------------

    async def get_messages(self, run_id: str, tip: bytes) -> list[bytes]:
        return await self._readers.read(lambda link: catalog.get_messages(link, run_id, tip))

    # -- keys ---------------------------------------------------------------------------------

    async def add_key(self, key: ApiKey) -> None:
        await self._writer.write(lambda tx: catalog.add_key(tx, key))

    async def key(self, key_id: str) -> ApiKey | None:
        return await self._readers.read(lambda link: catalog.key(link, key_id))

    async def keys(self) -> list[ApiKey]:
        return await self._readers.read(catalog.keys)

    async def revoke_key(self, key_id: str) -> None:
        await self._writer.write(lambda tx: catalog.revoke_key(tx, key_id))

    async def touch_key(self, key_id: str) -> None:
        await self._writer.write(lambda tx: catalog.touch_key(tx, key_id))
