"""The queue: adding runs in bulk, and runs that do nothing but return a result, end to end.

The no-op runs go through one worker of this process, from the first enqueue until the last result
is durable and here. Beside Celery: ``python -m bench.peers queue``.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench import runs as submitted
from bench.agents import app
from bench.figure import Figure, Size, median
from bench.scene import KINDS, TITLES, Scene, opened
from perdure.cli.process import spare_collector
from perdure.runtime.attempt import Attempt
from perdure.runtime.execution import Ended
from perdure.runtime.worker import Worker, WorkerSettings
from perdure.store import Store
from perdure.store.blobs import FileBlobs

ENQUEUED = 50_000.0  # a second, at least (PostgreSQL)
CONCURRENCY = 1000


async def bulk(store: Store, runs: int) -> float:
    """Runs added a second, a thousand a call."""
    given = [submitted.new("noop", n) for n in range(runs)]
    begun = time.perf_counter()
    await submitted.enqueue(store, given)
    return runs / (time.perf_counter() - begun)


async def through(store: Store, folder: Path, runs: int) -> float:
    """Runs added, executed and answered a second. Raises RuntimeError for wrong results."""
    spare_collector()
    settings = WorkerSettings(concurrency=CONCURRENCY)
    worker = Worker(store, FileBlobs(folder), {"noop": app.agents["noop"]}, settings)
    results: dict[str, bytes | None] = {}
    over = asyncio.Event()

    def ended(attempt: Attempt, end: Ended | None) -> None:
        results[attempt.run_id] = end.result if end is not None else None
        if len(results) == runs:
            over.set()

    worker.on_end = ended
    await worker.start()
    begun = time.perf_counter()
    given = [submitted.new("noop", n) for n in range(runs)]
    await submitted.enqueue(store, given)
    await over.wait()
    wall = time.perf_counter() - begun
    await worker.stop()
    if any(results[run.id] != run.input for run in given):
        raise RuntimeError("a run returned something else")
    return runs / wall


async def measure(size: Size) -> list[Figure]:
    """Both stores."""
    runs = size.of(5000, 500)
    figures: list[Figure] = []
    with Scene() as scene:
        for kind in KINDS:
            added: list[float] = []
            done: list[float] = []
            for i in range(size.repeat + 1):  # the first round warms up
                async with opened(scene.url(kind)) as store:
                    one = await through(store, scene.path("blobs"), runs)
                async with opened(scene.url(kind)) as store:
                    other = await bulk(store, size.of(50_000, 2_000))
                if i:
                    done.append(one)
                    added.append(other)
            title = TITLES[kind]
            target = ENQUEUED if kind == "postgres" else None
            figures += [
                Figure("queue", f"{title}: bulk enqueue", median(added), "runs/s", target, True),
                Figure("queue", f"{title}: {runs} no-op runs, results", median(done), "runs/s"),
            ]
    return figures
