"""Runs of a file's agents, executed until they wait, in a store of the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import orjson

from perdure.cli import target
from perdure.core.run import RunState
from perdure.runtime.worker import Worker, WorkerSettings
from perdure.store import make_store
from perdure.store.base import Store
from perdure.store.blobs import FileBlobs
from perdure.store.ids import new_run_id
from perdure.store.rows import NewRun

PATIENCE = 20.0


def park(
    place: str, agent: str, values: Sequence[object], *, url: str = "sqlite:///.perdure/perdure.db"
) -> list[str]:
    """Start a run on each value with the agents of ``place``, and leave when all wait or ended."""
    if url.startswith("sqlite:///.perdure/"):
        Path(".perdure").mkdir(exist_ok=True)
    return asyncio.run(_park(place, agent, values, url))


async def _park(place: str, agent: str, values: Sequence[object], url: str) -> list[str]:
    store = make_store(url)
    await store.open(check=False)
    await store.upgrade()
    worker = Worker(
        store, FileBlobs(Path(".perdure/perdure.blobs")), target.load(place).agents,
        WorkerSettings(),
    )  # fmt: skip
    try:
        await worker.start()
        ids = [new_run_id() for _ in values]
        await store.enqueue(
            [
                NewRun(one, agent, orjson.dumps(value), queue=agent)
                for one, value in zip(ids, values, strict=True)
            ]
        )
        for one in ids:
            await _rest(store, one)
        await worker.stop()
    finally:
        await store.close()
    return ids


async def _rest(store: Store, run_id: str) -> None:
    moved = asyncio.Event()
    undo = store.listen(f"run:{run_id}", lambda _: moved.set())
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                moved.clear()
                await store.watch(run_id)
                state = (await store.get(run_id, payloads=False)).state
                if state.final or state is RunState.WAITING:
                    return
                await moved.wait()
    finally:
        undo()
