"""DBOS. Steps: asynchronous workflows and steps, started directly (its queues poll), as many at a
time as the task says; the pool of connections as it comes. Latency: its queue, which is how another
process's workflow is executed, with its default polling.
"""

from __future__ import annotations

import asyncio
import random
import time

from dbos import DBOS

from bench.peers.task import Task, answer, given

IDLE_S = (0.005, 0.025)


@DBOS.step()
async def tick(n: int) -> dict[str, int]:
    return {"n": n, "twice": n * 2}


@DBOS.workflow()
async def ticks(n: int) -> int:
    total = 0
    for i in range(n):
        total += (await tick(i))["n"]
    return total


@DBOS.workflow()
async def noop(n: int) -> int:
    return n


async def many(runs: int, at_once: int, steps: int) -> float:
    """Seconds until every workflow has answered."""
    room = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with room:
            handle = await DBOS.start_workflow_async(ticks, steps)
            if await handle.get_result() != steps * (steps - 1) // 2:
                raise RuntimeError("another result")

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(runs):
            group.create_task(one())
    return time.perf_counter() - begun


async def queued(n: int) -> float:
    begun = time.perf_counter()
    handle = await DBOS.enqueue_workflow_async("noops", noop, n)
    if await handle.get_result() != n:
        raise RuntimeError("another result")
    return time.perf_counter() - begun


async def main(task: Task) -> None:
    DBOS(config={"name": "bench", "system_database_url": task.dsn, "log_level": "CRITICAL"})
    DBOS.launch()
    try:
        if task.job == "steps":
            await many(min(task.at_once, task.runs), task.at_once, 2)
            taken = await many(task.runs, task.at_once, task.steps)
            answer(rate=task.effects / taken, how="async workflows, started directly")
        else:
            await DBOS.register_queue_async("noops")
            await queued(0)
            times: list[float] = []
            for n in range(task.runs):
                await asyncio.sleep(random.uniform(*IDLE_S))
                times.append(await queued(n))
            answer(times=times, how="queue, default polling")
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(main(given()))
