"""A throwaway store with one run in it, as its export says, leased to the replay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

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


@dataclass(frozen=True, slots=True)
class Stage:
    """What an attempt needs."""

    runtime: Runtime
    lease: Lease


@asynccontextmanager
async def stage(export: Export) -> AsyncIterator[Stage]:
    """The run as it was before its last attempt ended."""
    run = export.run
    with TemporaryDirectory(prefix="perdure-replay-") as folder:
        store = make_store(f"sqlite:///{folder}/replay.db")
        await store.open(check=False)
        try:
            await store.upgrade()
            (answer,) = await store.enqueue(
                [
                    NewRun(
                        id=run.id,
                        agent=run.agent,
                        input=run.input or b"null",
                        queue=run.queue,
                        tenant=run.tenant,
                        session=run.session,
                        depth=run.depth,
                        generation=run.generation,
                        labels=run.labels,
                        trace=run.trace,
                        parent=run.parent,
                        max_attempts=run.max_attempts,
                        lease_to=WORKER,
                    )
                ]
            )
            if answer.lease is None:
                raise PerdureError("The replay's own store did not lease the run.")
            entries = journal(export)
            for i in range(0, len(entries), ROWS):
                await store.record(
                    [
                        LogRow(run.id, i + n + 1, answer.lease.epoch, entry)
                        for n, entry in enumerate(entries[i : i + ROWS])
                    ]
                )
            blobs = FileBlobs(Path(folder) / "blobs")
            for data in export.blobs.values():
                blobs.put(data)
            ended = run.state in (RunState.FAILED, RunState.DEAD)
            lease = replace(
                answer.lease,
                attempts=max(run.attempts - 1, 0) if ended else run.attempts,
                next_seq=len(entries) + 1,
                created_at=run.created_at,
                now=run.finished_at or run.started_at or run.created_at,
            )
            yield Stage(Runtime(store, blobs, WORKER), lease)
        finally:
            await store.close()


def journal(export: Export) -> list[Record]:
    """The entries to replay. A failed attempt's settlement takes back the failures that ended it,
    so that the next attempt tries them again; a replay is to fail as it did."""
    rows = [event for event in export.log if event.type == RecordType.ENTRY]
    failed = export.run.state in (RunState.FAILED, RunState.DEAD) or any(
        wait.get("reason") == "retry" for wait in export.run.waits
    )
    while failed and rows and rows[-1].state == EntryState.VOID:
        rows.pop()
    return [_record(row) for row in rows]


def _record(event: LogEvent) -> Record:
    return Record(**{name: getattr(event, name) for name in Record._fields})
