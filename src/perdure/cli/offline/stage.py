"""A throwaway store, and runs put into it as their exports say, leased to a rehearsal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from perdure.cli.offline.document import Export
from perdure.core.record import EntryState, Record, RecordType
from perdure.core.run import RunState
from perdure.errors import PerdureError
from perdure.runtime.runtime import Runtime
from perdure.store import make_store
from perdure.store.blobs import FileBlobs
from perdure.store.rows import Lease, LogEvent, LogRow, NewRun

WORKER = "replay"
ROWS = 2000


class Stage:
    """What attempts need, in a folder that goes away."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def put(self, export: Export, *, ended: bool) -> Lease:
        """The run as its next attempt would find it; with ``ended`` as its last attempt, the one
        that ended it, found it."""
        run, store = export.run, self.runtime.store
        # Sessions and caps would keep runs from being leased beside each other.
        new = NewRun(
            id=run.id,
            agent=run.agent,
            input=run.input or b"null",
            queue=run.queue,
            tenant=run.tenant,
            depth=run.depth,
            generation=run.generation,
            labels=run.labels,
            trace=run.trace,
            parent=run.parent,
            max_attempts=run.max_attempts,
            lease_to=WORKER,
        )
        (answer,) = await store.enqueue([new])
        if answer.lease is None:
            raise PerdureError("The replay's own store did not lease the run.")
        entries = journal(export, ended=ended)
        for i in range(0, len(entries), ROWS):
            await store.record(
                [
                    LogRow(run.id, i + n + 1, answer.lease.epoch, entry)
                    for n, entry in enumerate(entries[i : i + ROWS])
                ]
            )
        for data in export.blobs.values():
            self.runtime.blobs.put(data)
        failed = ended and run.state in (RunState.FAILED, RunState.DEAD)
        return replace(
            answer.lease,
            session=run.session,
            attempts=max(run.attempts - 1, 0) if failed else run.attempts,
            next_seq=len(entries) + 1,
            created_at=run.created_at,
            now=run.finished_at or run.started_at or run.created_at,
        )


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """A stage for as long as it is open."""
    with TemporaryDirectory(prefix="perdure-replay-") as folder:
        store = make_store(f"sqlite:///{folder}/replay.db")
        await store.open(check=False)
        try:
            await store.upgrade()
            yield Stage(Runtime(store, FileBlobs(Path(folder) / "blobs"), WORKER))
        finally:
            await store.close()


def journal(export: Export, *, ended: bool) -> list[Record]:
    """The entries to replay. A failed attempt's settlement takes back the failures that ended it,
    so that the next attempt tries them again; with ``ended`` it is to fail as it did."""
    since = _generation_began(export.log)
    rows = [e for e in export.log if e.type == RecordType.ENTRY and e.seq > since]
    failed = export.run.state in (RunState.FAILED, RunState.DEAD) or any(
        wait.get("reason") == "retry" for wait in export.run.waits
    )
    while ended and failed and rows and rows[-1].state == EntryState.VOID:
        rows.pop()
    return [_record(row) for row in rows]


def _generation_began(log: list[LogEvent]) -> int:
    """The number after which the present generation's journal begins (Z1)."""
    for event in reversed(log):
        moved = event.type == RecordType.STATUS and event.name == RunState.QUEUED
        if moved and orjson.loads(event.value or b"{}").get("reason") == "continued":
            return event.seq
    return 0


def _record(event: LogEvent) -> Record:
    return Record(**{name: getattr(event, name) for name in Record._fields})
