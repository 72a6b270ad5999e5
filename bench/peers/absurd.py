"""Absurd: its schema from PyPI's absurdctl, asynchronous workers of its Python SDK. A worker has
one connection and waits in line for it, so this process runs several; their settings are the SDK's
own but for the number of tasks at a time.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import psycopg
from absurd_sdk import AsyncAbsurd
from absurdctl import BUNDLED_SCHEMA_SQL

from bench.peers.task import Task, answer, given

IDLE_S = (0.005, 0.025)
WORKERS = 8


async def ticks(params: Any, ctx: Any) -> int:
    total = 0
    for i in range(params["n"]):

        async def tick(n: int = i) -> dict[str, int]:
            return {"n": n, "twice": n * 2}

        total += (await ctx.step("tick", tick))["n"]
    return total


async def noop(params: Any, ctx: Any) -> int:
    n: int = params["n"]
    return n


async def until_completed(link: psycopg.AsyncConnection[Any], number: int) -> None:
    """Return when so many tasks are completed."""
    while True:
        row = await (
            await link.execute("select count(*) from absurd.t_default where state = 'completed'")
        ).fetchone()
        if row is not None and row[0] >= number:
            return
        await asyncio.sleep(0.02)


async def main(task: Task) -> None:
    link = await psycopg.AsyncConnection.connect(task.dsn, autocommit=True)
    await link.execute(BUNDLED_SCHEMA_SQL)
    client = AsyncAbsurd(task.dsn)
    await client.create_queue("default")
    client.register_task("ticks")(ticks)
    client.register_task("noop")(noop)
    workers = [AsyncAbsurd(task.dsn) for _ in range(WORKERS if task.job == "steps" else 1)]
    working: list[asyncio.Task[None]] = []
    for worker in workers:
        worker.register_task("ticks")(ticks)
        worker.register_task("noop")(noop)
        each = max(task.at_once // len(workers), 1)
        working.append(asyncio.create_task(worker.start_worker(concurrency=each)))
    warm = 2 * len(workers)
    for _ in range(warm):
        await client.spawn("ticks", {"n": task.steps})
    await until_completed(link, warm)
    if task.job == "steps":
        begun = time.perf_counter()
        for _ in range(task.runs):
            await client.spawn("ticks", {"n": task.steps})
        await until_completed(link, warm + task.runs)
        taken = time.perf_counter() - begun
        answer(rate=task.effects / taken, how=f"{WORKERS} async workers in one process")
    else:
        times: list[float] = []
        for n in range(task.runs):
            await asyncio.sleep(random.uniform(*IDLE_S))
            begun = time.perf_counter()
            spawned = await client.spawn("noop", {"n": n})
            result = await client.await_task_result(str(spawned["task_id"]), timeout=30)
            if result.result != n:
                raise RuntimeError("another result")
            times.append(time.perf_counter() - begun)
        answer(times=times, how="default polling")
    for worker in workers:
        worker.stop_worker()
    for one in working:
        one.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    await link.close()


if __name__ == "__main__":
    asyncio.run(main(given()))
