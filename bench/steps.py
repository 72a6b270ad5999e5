"""Durable steps beside the limit: runs x tiny steps through one worker.

    python -m bench.steps --store sqlite --runs 200 --steps 20 --repeat 5

Prints medians of interleaved rounds: Perdure's effects a second, CPU microseconds an effect of the
worker process, and the ratio to the bare group commit of the same store in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from bench.limits import postgres_limit, sqlite_limit
from perdure import step
from perdure.core.guard import Limits
from perdure.core.run import RunState
from perdure.runtime.agent import from_function
from perdure.runtime.policy import Policy
from perdure.runtime.worker import Worker, WorkerSettings
from perdure.store import Store, make_store
from perdure.store.blobs import FileBlobs
from perdure.store.rows import NewRun


@step
async def tick(n: int) -> dict[str, int]:
    return {"n": n, "twice": n * 2}


async def ticks(n: int) -> int:
    """An agent of n tiny steps."""
    total = 0
    for i in range(n):
        total += (await tick(i))["n"]
    return total


@dataclass
class Round:
    """``rate`` in effects a second of wall time, ``cpu`` in microseconds an effect."""

    rate: float
    cpu: float


async def perdure_round(store: Store, folder: Path, runs: int, steps: int) -> Round:
    policy = Policy(limits=Limits(effects=None))
    agent = from_function(ticks, policy=policy)
    worker = Worker(store, FileBlobs(folder), {"ticks": agent}, WorkerSettings(concurrency=runs))
    await worker.start(claim=False)
    ids = [str(uuid4()) for _ in range(runs)]
    payload = str(steps).encode()
    await store.enqueue([NewRun(i, "ticks", payload, queue="ticks") for i in ids])
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    claimed = await store.claim(worker.id, ["ticks"], runs, idle=True)
    ended = await asyncio.gather(*[worker.take(lease) for lease in claimed.leases])
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert all(e.state is RunState.SUCCEEDED for e in ended), "a run did not succeed"
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    effects = runs * steps
    await worker.drain()
    return Round(effects / wall, cpu / effects * 1e6)


@contextlib.asynccontextmanager
async def opened(kind: str, folder: Path, dsn: str | None) -> AsyncIterator[Store]:
    url = f"sqlite:///{folder}/bench.db" if kind == "sqlite" else str(dsn)
    store = make_store(url)
    await store.open(check=False)
    await store.upgrade()
    try:
        yield store
    finally:
        await store.close()


async def measure(kind: str, runs: int, steps: int, repeat: int) -> dict[str, object]:
    mine: list[Round] = []
    limits: list[float] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        dsn = None
        if kind == "postgres":
            from tests.servers import PostgresServer

            server = stack.enter_context(PostgresServer(durable=True))
            dsn = server.dsn(server.create_database())
        for i in range(repeat + 1):  # the first round warms up
            if kind == "sqlite":
                limit = (await sqlite_limit(folder / f"limit{i}.db", runs=runs, steps=steps))[
                    0
                ].per_second
            else:
                limit = (await postgres_limit(str(dsn), runs=runs, steps=steps))[0].per_second
            async with opened(kind, folder, dsn) as store:
                one = await perdure_round(store, folder / "blobs", runs, steps)
            if i:
                mine.append(one)
                limits.append(limit)
    return {
        "store": kind,
        "runs": runs,
        "steps": steps,
        "effects_per_s": round(statistics.median(m.rate for m in mine)),
        "cpu_us_per_effect": round(statistics.median(m.cpu for m in mine), 1),
        "limit_per_s": round(statistics.median(limits)),
        "of_limit": round(
            statistics.median(m.rate / x for m, x in zip(mine, limits, strict=True)), 3
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    print(
        json.dumps(asyncio.run(measure(options.store, options.runs, options.steps, options.repeat)))
    )


if __name__ == "__main__":
    sys.exit(main())
