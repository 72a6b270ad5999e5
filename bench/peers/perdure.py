"""Perdure as a contender, in the same way as its peers: a process for each measurement.

``steps``: enqueued, executed and ended in one worker process. ``queue``: likewise, with results.
``latency``: submitted here, executed by a worker process.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench import latency, queue, steps
from bench.peers.task import Task, answer, given
from bench.scene import opened

HOW = "one worker, its defaults"


async def main(task: Task) -> None:
    folder = Path(task.folder)
    if task.job == "latency":
        times = await latency.perdure(task.dsn, task.runs)
        answer(times=times, how=HOW)
        return
    async with opened(task.dsn) as store:
        if task.job == "queue":
            await queue.through(store, folder, 500)
            answer(rate=await queue.through(store, folder, task.runs), how=HOW)
            return
        await steps.perform(store, folder, steps.Work(task.at_once, task.at_once, task.steps))
        work = steps.Work(task.runs, task.at_once, task.steps)
        answer(rate=(await steps.perform(store, folder, work)).rate, how=HOW)


if __name__ == "__main__":
    asyncio.run(main(given()))
