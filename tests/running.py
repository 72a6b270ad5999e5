"""Runs agents in tests: a SQLite store, and workers over it that come and go like processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from perdure import codec
from perdure.app import App
from perdure.core.record import Entry, EntryState, Kind, RecordType
from perdure.runtime.worker import Worker, WorkerSettings
from perdure.store.blobs import FileBlobs
from perdure.store.rows import LogEvent, NewRun, Run
from perdure.store.sqlite import SqliteStore

FINAL = ("succeeded", "failed", "dead", "cancelled")


class Ground:
    """Where runs happen. ``begin`` and ``stop`` a worker as often as the test needs."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteStore(f"sqlite:///{folder}/runs.db")
        self.blobs = FileBlobs(folder / "blobs")
        self.workers: list[Worker] = []

    async def open(self) -> None:
        await self.store.open(check=False)
        await self.store.upgrade()

    async def close(self) -> None:
        while self.workers:
            await self.stop()
        await self.store.close()

    async def begin(self, app: App, **settings: Any) -> Worker:
        """A new worker, which claims at once."""
        chosen = WorkerSettings(lease=timedelta(seconds=5), **settings)
        worker = Worker(self.store, self.blobs, app.agents, chosen)
        await worker.start()
        self.workers.append(worker)
        return worker

    async def stop(self) -> None:
        """End the oldest worker at once; what it leased is executed again by the next."""
        await self.workers.pop(0).stop()

    async def drain(self, worker: Worker) -> asyncio.Task[None]:
        """Begin to end the worker as on SIGTERM; await the task for its end."""
        self.workers.remove(worker)
        draining = asyncio.create_task(worker.drain())
        await asyncio.sleep(0)  # it has begun now
        return draining

    async def start(
        self, agent: str, value: Any, *, session: str | None = None, attempts: int = 5
    ) -> str:
        run = NewRun(
            id=str(uuid4()),
            agent=agent,
            input=codec.encode(value),
            queue=agent,
            session=session,
            max_attempts=attempts,
            watch=True,
        )
        await self.store.enqueue([run])
        return run.id

    async def until(self, run_id: str, *states: str, within: float = 20) -> Run:
        """The run, once it is in one of ``states`` (default: any final one)."""
        wanted = states or FINAL
        moved = asyncio.Event()
        undo = self.store.listen(f"run:{run_id}", lambda _: moved.set())
        try:
            async with asyncio.timeout(within):
                while True:
                    moved.clear()
                    await self.store.watch(run_id)
                    run = await self.store.get(run_id)
                    if str(run.state) in wanted:
                        return run
                    await moved.wait()
        finally:
            undo()

    async def recorded(self, run_id: str, name: str, count: int = 1) -> None:
        """Wait until so many effects of this name are done in the journal."""
        await self._journaled(run_id, lambda entry: entry.name == name, count)

    async def tools_done(self, run_id: str, count: int) -> None:
        """Wait until so many tool calls are done in the journal."""
        await self._journaled(run_id, lambda entry: entry.kind == Kind.TOOL, count)

    async def models_done(self, run_id: str, count: int) -> None:
        """Wait until so many model calls are done in the journal."""
        await self._journaled(run_id, lambda entry: entry.kind == Kind.MODEL, count)

    async def asked(self, run_id: str, count: int) -> None:
        """Wait until so many interrupts were told of."""
        await self._journaled(run_id, lambda entry: entry.name == "interrupt", count)

    async def _journaled(self, run_id: str, which: Callable[[Entry], bool], count: int) -> None:
        moved = asyncio.Event()
        undo = self.store.listen(f"run:{run_id}", lambda _: moved.set())
        try:
            async with asyncio.timeout(20):
                while True:
                    moved.clear()
                    await self.store.watch(run_id)
                    entries = await self.store.journal(run_id)
                    done = [e for e in entries if e.state == EntryState.DONE and which(e)]
                    if len(done) >= count:
                        return
                    await moved.wait()
        finally:
            undo()

    async def result(self, run_id: str, *, within: float = 20) -> Any:
        """What the run returned; fails the test where it did not succeed."""
        run = await self.until(run_id, within=within)
        assert run.state == "succeeded", (run.state, run.error)
        assert run.result is not None
        return codec.decode(run.result)

    async def events(self, run_id: str) -> list[LogEvent]:
        """The whole log so far."""
        found: list[LogEvent] = []
        while page := await self.store.events(run_id, found[-1].seq if found else 0):
            found += page
        return found

    async def warnings(self, run_id: str) -> list[str]:
        events = await self.events(run_id)
        return [e.name or "" for e in events if e.type == RecordType.WARNING]


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    place = Ground(tmp_path)
    await place.open()
    try:
        yield place
    finally:
        await place.close()
