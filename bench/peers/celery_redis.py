"""Celery on Redis. Best of what its documentation recommends for many tiny tasks: prefork with a
process for each core, a large prefetch (Optimizing: "Prefetch
Limits"), no gossip, mingle, heartbeats or events. Redis keeps nothing on disk, as it is
installed, and so does not wait for one as PostgreSQL does.

Jobs are published over one producer and their results awaited one by one, which was the fastest of
what its API offers (a group and its join took half as long again); the results come through
Celery's own Redis backend, told by publish/subscribe.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time

from celery import Celery

from bench.peers.task import Task, answer, given

IDLE_S = (0.005, 0.025)
PROCESSES = os.cpu_count() or 1

# The worker's own process gets the task in the same way as this one.
url = json.loads(os.environ.get("BENCH_TASK") or sys.argv[-1])["redis"]
app = Celery("bench.peers.celery_redis", broker=url, backend=url)
app.conf.update(
    worker_prefetch_multiplier=128,
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    task_ignore_result=False,
    task_compression=None,
    worker_send_task_events=False,
)


@app.task(name="noop")
def noop(n: int) -> int:
    return n


def many(runs: int) -> float:
    """Seconds from the first submit to the last result."""
    begun = time.perf_counter()
    with app.producer_or_acquire() as producer:
        results = [noop.apply_async((n,), producer=producer) for n in range(runs)]
    values = [result.get() for result in results]
    taken = time.perf_counter() - begun
    if values != list(range(runs)):
        raise RuntimeError("other results")
    return taken


def one(n: int) -> float:
    begun = time.perf_counter()
    if noop.delay(n).get(timeout=10) != n:
        raise RuntimeError("another result")
    return time.perf_counter() - begun


def main(task: Task) -> None:
    worker = subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "-A", "bench.peers.celery_redis", "worker"),
            *("-P", "prefork", "-c", str(PROCESSES), "--loglevel=CRITICAL"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ],
        env={**os.environ, "BENCH_TASK": sys.argv[-1]},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    how = f"prefork, {PROCESSES} processes, prefetch 128, Redis in memory"
    try:
        many(200)  # waits for the worker, and warms it up
        if task.job == "queue":
            answer(rate=task.runs / many(task.runs), how=how)
        else:
            times: list[float] = []
            for n in range(task.runs):
                time.sleep(random.uniform(*IDLE_S))
                times.append(one(n))
            answer(times=times, how=how)
    finally:
        worker.terminate()
        worker.wait()


if __name__ == "__main__":
    main(given())
