"""The group commit: all runs of a worker share it.

Whatever is pending goes out as one statement while the previous one is in flight, so the
commits an effect costs shrink as the worker gets busier. Invariants: the rows of a run are
written in the order in which they were appended; a settlement goes out after every row of
its run; a future resolves only when its row is durable. A store that is away delays, it loses
nothing: the batch is sent again until the store answers (a repeated row counts as written). A run
whose rows the store cannot take at all fails alone: the others of its batch are written.

A stored request goes out with its run's next row. A charge is written in the transaction of the row
that is appended next, whatever becomes of that row, and alone where none follows. One that the
store cannot take at all is logged and left out: no agent fails for its bookkeeping.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

from perdure.core import crash
from perdure.core.charge import Charge
from perdure.core.record import Record
from perdure.errors import LeaseLost, StoreUnavailable
from perdure.store.base import Store
from perdure.store.rows import LogRow, Message, Refusal, Settled, Settlement

_T = TypeVar("_T")

log = logging.getLogger("perdure.recorder")

HALVED = 64  # rows that are written in two statements, so that the work between them overlaps
MAX_ROWS = 2000  # one statement's rows; more wait for the next
MAX_BYTES = 8 * 1024 * 1024  # one statement's values
RETRY_DELAYS = (0.05, 0.1, 0.25, 0.5, 1.0)  # seconds; the last one repeats


class Writer(Protocol):
    """Who appends: an attempt. ``next_seq`` is the first free number of its run's log."""

    run_id: str
    epoch: int
    next_seq: int

    def lost(self) -> None:
        """Its lease is another's now."""

    def broken(self, error: Exception) -> None:
        """Its rows cannot be written, whenever they are sent."""


class _Pending:
    __slots__ = ("charges", "future", "messages", "record", "writer")

    def __init__(
        self,
        writer: Writer,
        record: Record,
        future: asyncio.Future[None] | None,
        charges: Sequence[Charge],
        messages: Sequence[Message],
    ) -> None:
        self.writer = writer
        self.record = record
        self.future = future
        self.charges = charges  # that were made before it
        self.messages = messages  # of its run's requests


class Recorder:
    """Appends rows and settles attempts for one event loop."""

    def __init__(self, store: Store, on_trouble: Callable[[bool], None] | None = None) -> None:
        """``on_trouble(True)`` is called when the store stops answering, False when it is back."""
        self._store = store
        self._on_trouble = on_trouble
        self._rows: list[_Pending] = []
        self._settlements: list[tuple[Settlement, asyncio.Future[Settled]]] = []
        self._messages: dict[str, list[Message]] = {}  # for their runs' next rows
        self._charges: list[Charge] = []  # for the row that is appended next
        self._written: list[_Pending] = []  # durable, and those who wait for it not told yet
        self._task: asyncio.Task[None] | None = None

    def append(self, writer: Writer, record: Record) -> asyncio.Future[None]:
        """Write ``record``; the future resolves when it is durable, or raises LeaseLost."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._add(writer, record, future)
        return future

    def append_quietly(self, writer: Writer, record: Record) -> None:
        """Write ``record``; nobody waits for it."""
        self._add(writer, record, None)

    def _add(self, writer: Writer, record: Record, future: asyncio.Future[None] | None) -> None:
        charges: Sequence[Charge] = ()
        if self._charges:
            charges, self._charges = self._charges, []
        messages = self._messages.pop(writer.run_id, ()) if self._messages else ()
        self._rows.append(_Pending(writer, record, future, charges, messages))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._flush())

    def charge(self, charge: Charge) -> None:
        """Add to the ledger, in one transaction with the row that is appended next: within this
        turn of the event loop, else it may go out before it."""
        self._charges.append(charge)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._flush())

    def messages(self, run_id: str, nodes: list[tuple[bytes, bytes, bytes]]) -> None:
        """Store request nodes (Z1) with the row of this run that is appended next."""
        mine = self._messages.setdefault(run_id, [])
        mine.extend(Message(run_id, *node) for node in nodes)

    async def settle(self, settlement: Settlement) -> Settled:
        """End an attempt, after all its rows."""
        self._messages.pop(settlement.run_id, None)  # what asked for them never ended
        future: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        self._settlements.append((settlement, future))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._flush())
        return await future

    async def drained(self) -> None:
        """Wait until nothing is pending."""
        while self._task is not None:
            await asyncio.shield(self._task)

    async def _flush(self) -> None:
        try:
            while self._rows or self._settlements or self._written or self._charges:
                if self._rows and self._written:
                    # What came meanwhile goes out first: the agents whose rows were written work
                    # while it is in flight.
                    self._tell_soon()
                    rows = self._take_rows(MAX_ROWS)
                else:
                    self._tell_soon()
                    # A few turns of the loop, so that these agents' next rows join this batch. Half
                    # of many are left for the next, from where on the halves take turns.
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                    waiting = len(self._rows)
                    rows = self._take_rows(waiting // 2 if waiting > HALVED else MAX_ROWS)
                settlements: list[tuple[Settlement, asyncio.Future[Settled]]] = []
                charges: Sequence[Charge] = ()
                if not self._rows:  # of no run that ends a row is left behind
                    settlements, self._settlements = self._settlements, []
                    charges, self._charges = self._charges, []
                if rows:
                    await self._write(rows)
                if charges:
                    self._tell_soon()
                    await self._charge(charges)
                if settlements:
                    self._tell_soon()
                    await self._settle(settlements)
        finally:
            self._task = None

    def _tell_soon(self) -> None:
        """Let those go on whose rows are durable, in the loop's next turn."""
        if self._written:
            written, self._written = self._written, []
            asyncio.get_running_loop().call_soon(_tell, written)

    def _take_rows(self, most: int) -> list[_Pending]:
        size = 0
        for i, pending in enumerate(self._rows):
            size += len(pending.record.value or b"")
            size += sum(len(message.body) for message in pending.messages)
            if i == most or (size > MAX_BYTES and i > 0):
                taken, self._rows = self._rows[:i], self._rows[i:]
                return taken
        taken, self._rows = self._rows, []
        return taken

    async def _write(self, batch: list[_Pending]) -> None:
        try:
            await self._send(batch)
        except Exception as error:
            by_run: dict[str, list[_Pending]] = {}
            for pending in batch:
                by_run.setdefault(pending.writer.run_id, []).append(pending)
            if len(by_run) > 1:
                for part in by_run.values():
                    await self._write(part)
                return
            run_id = batch[0].writer.run_id
            log.exception("run %s: its rows cannot be written", run_id, extra={"run_id": run_id})
            for pending in batch:
                if pending.future is not None and not pending.future.done():
                    pending.future.set_exception(error)
            batch[0].writer.broken(error)

    async def _charge(self, charges: Sequence[Charge]) -> None:
        """Charges alone; those that the store cannot take do not keep the others out."""
        try:
            await self._persist(partial(self._store.charge, charges))
        except Exception:
            if len(charges) > 1:
                for each in charges:
                    await self._charge([each])
            else:
                log.exception("A charge cannot be written to the ledger: %s", charges[0])

    async def _send(self, batch: list[_Pending]) -> None:
        crash.reach(crash.Point.BEFORE_COMMIT)
        while batch:
            rows: list[LogRow] = []
            for pending in batch:
                writer = pending.writer
                rows.append(LogRow(writer.run_id, writer.next_seq, writer.epoch, pending.record))
                writer.next_seq += 1
            charges = [charge for pending in batch for charge in pending.charges]
            messages = [message for pending in batch for message in pending.messages]
            refusals = await self._record(rows, charges, messages)
            if charges or messages:
                for pending in batch:
                    pending.charges = pending.messages = ()
            if not refusals:
                break
            batch = self._refused(batch, rows, {(r.run_id, r.seq): r for r in refusals})
        crash.reach(crash.Point.AFTER_COMMIT)
        self._written += batch

    async def _record(
        self, rows: list[LogRow], charges: list[Charge], messages: list[Message]
    ) -> list[Refusal]:
        store = self._store
        if charges:
            try:
                return await self._persist(partial(store.record, rows, charges, messages))
            except Exception:
                # It is not known whose fault it is; what is written twice counts once.
                await self._charge(charges)
        return await self._persist(partial(store.record, rows, (), messages))

    def _refused(
        self,
        batch: list[_Pending],
        rows: list[LogRow],
        refusals: Mapping[tuple[str, int], Refusal],
    ) -> list[_Pending]:
        """Resolve what was written, fail what was lost; returns what goes out again."""
        again: list[_Pending] = []
        moved: set[str] = set()
        for pending, row in zip(batch, rows, strict=True):
            refusal = refusals.get((row.run_id, row.seq))
            if refusal is None:
                if pending.future is not None and not pending.future.done():
                    pending.future.set_result(None)
            elif refusal.lost:
                if pending.future is not None and not pending.future.done():
                    pending.future.set_exception(
                        LeaseLost(f"Run {row.run_id} is leased to another worker.")
                    )
                pending.writer.lost()
            else:
                if row.run_id not in moved:
                    moved.add(row.run_id)
                    pending.writer.next_seq = refusal.next_seq
                again.append(pending)
        return again

    async def _settle(self, batch: list[tuple[Settlement, asyncio.Future[Settled]]]) -> None:
        crash.reach(crash.Point.BEFORE_SETTLE)
        try:
            settled = await self._persist(lambda: self._store.settle([s for s, _ in batch]))
        except Exception as error:
            if len(batch) > 1:
                for each in batch:
                    await self._settle([each])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        crash.reach(crash.Point.AFTER_SETTLE)
        for (_, future), outcome in zip(batch, settled, strict=True):
            if not future.done():
                future.set_result(outcome)

    async def _persist(self, write: Callable[[], Awaitable[_T]]) -> _T:
        """Send until the store answers."""
        tries = 0
        while True:
            try:
                answer = await write()
            except StoreUnavailable as error:
                if tries == 0:
                    log.warning("The store does not answer; effects wait for it: %s", error)
                    if self._on_trouble:
                        self._on_trouble(True)
                await asyncio.sleep(RETRY_DELAYS[min(tries, len(RETRY_DELAYS) - 1)])
                tries += 1
            else:
                if tries and self._on_trouble:
                    self._on_trouble(False)
                return answer


def _tell(written: list[_Pending]) -> None:
    for pending in written:
        if pending.future is not None and not pending.future.done():
            pending.future.set_result(None)
