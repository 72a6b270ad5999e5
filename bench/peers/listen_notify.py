"""What PostgreSQL's LISTEN/NOTIFY alone takes from one process to another and back: a row with a
job and a notification, a row with its result and a notification, two commits.

As a contender, and as the limit of ``python -m bench latency``.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from typing import Any

import asyncpg

from bench.peers.task import answer, given

SCHEMA = "create table job (id int primary key, input text not null, result text)"
IDLE_S = (0.005, 0.025)  # between two jobs
WARM = 20  # jobs that are not counted


async def work(dsn: str) -> None:
    """Answer every job, until the standard input ends."""
    link = await asyncpg.connect(dsn)
    jobs: asyncio.Queue[int] = asyncio.Queue()

    def told(_link: Any, _pid: int, _channel: str, payload: str) -> None:
        jobs.put_nowait(int(payload))

    await link.add_listener("job", told)
    finish = await link.prepare(
        "with done as (update job set result = input where id = $1 returning id)"
        " select pg_notify('done', id::text) from done"
    )
    # Preparing leaves the server amid a query, when it sends no notifications: end it.
    await finish.fetch(-1)
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    end = loop.run_in_executor(None, sys.stdin.read)
    while not end.done():
        wanted = asyncio.ensure_future(jobs.get())
        await asyncio.wait({wanted, end}, return_when=asyncio.FIRST_COMPLETED)
        if wanted.done():
            await finish.fetch(wanted.result())
        wanted.cancel()
    await link.close()


async def submit(dsn: str, rounds: int) -> list[float]:
    """Seconds from the insert to the result that was read, one job at a time."""
    link = await asyncpg.connect(dsn)
    await link.execute(SCHEMA)
    done: dict[int, asyncio.Event] = {}

    def told(_link: Any, _pid: int, _channel: str, payload: str) -> None:
        done[int(payload)].set()

    await link.add_listener("done", told)
    put = await link.prepare(
        "with put as (insert into job (id, input) values ($1, $2) returning id)"
        " select pg_notify('job', id::text) from put"
    )
    read = await link.prepare("select result from job where id = $1")
    worker = subprocess.Popen(
        [sys.executable, "-m", "bench.peers.listen_notify", "--work", dsn],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert worker.stdout is not None
    assert worker.stdin is not None
    await asyncio.to_thread(worker.stdout.readline)
    times: list[float] = []
    for i in range(rounds + WARM):
        await asyncio.sleep(random.uniform(*IDLE_S))
        done[i] = asyncio.Event()
        begun = time.perf_counter()
        await put.fetch(i, "x")
        await done[i].wait()
        if await read.fetchval(i) != "x":
            raise RuntimeError("another result")
        times.append(time.perf_counter() - begun)
    worker.stdin.close()
    worker.wait()
    await link.close()
    return times[WARM:]


if __name__ == "__main__":
    if sys.argv[1] == "--work":
        asyncio.run(work(sys.argv[2]))
    else:
        task = given()
        answer(times=asyncio.run(submit(task.dsn, task.runs)), how="two processes, asyncpg")
