"""Idle latency: from submitting a run to its result, one at a time, worker in another process.

The limit is LISTEN/NOTIFY alone between two processes (bench/peers/listen_notify.py).
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from dataclasses import asdict

from bench import runs as submitted
from bench.figure import Figure, Size, median, percentile
from bench.peers.listen_notify import IDLE_S, WARM
from bench.peers.task import Task
from bench.scene import KINDS, ROOT, TITLES, Kind, Scene, opened, worker
from perdure.core.run import RunState

OF_NOTIFY = 4.0
P99_MS = 15.0


async def perdure(url: str, rounds: int) -> list[float]:
    """Seconds from enqueue to the result that was read."""
    times: list[float] = []
    async with opened(url) as store:
        with worker(url) as process:
            await process.ready()
            for i in range(rounds + WARM):
                await asyncio.sleep(random.uniform(*IDLE_S))
                run = submitted.new("noop", i, watch=True)
                begun = time.perf_counter()
                found = await submitted.finished(store, run)
                times.append(time.perf_counter() - begun)
                if found.state is not RunState.SUCCEEDED or found.result != run.input:
                    raise RuntimeError(f"the run ended as {found.state}")
    return times[WARM:]


async def notify(dsn: str, rounds: int) -> list[float]:
    """The limit, in processes of its own."""
    task = Task("latency", dsn, "", "", runs=rounds, at_once=1, steps=0)
    command = [sys.executable, "-m", "bench.peers.listen_notify", json.dumps(asdict(task))]
    ran = await asyncio.to_thread(
        subprocess.run, command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    )
    times: list[float] = json.loads(ran.stdout)["times"]
    return times


async def measure(size: Size) -> list[Figure]:
    """PostgreSQL beside its limit; SQLite for itself."""
    rounds = size.of(500, 30)
    ratios: list[float] = []
    bare: list[float] = []
    times: dict[Kind, list[float]] = {"postgres": [], "sqlite": []}
    with Scene() as scene:
        for _ in range(size.repeat):
            limit = await notify(scene.url("postgres"), rounds)
            bare += limit
            for kind in KINDS:
                mine = await perdure(scene.url(kind), rounds)
                times[kind] += mine
                if kind == "postgres":
                    ratios.append(percentile(mine, 0.5) / percentile(limit, 0.5))
    p50 = percentile(times["postgres"], 0.5) * 1e3
    beside = f"{p50:.1f} ms beside {percentile(bare, 0.5) * 1e3:.1f} ms"
    figures = [
        Figure(
            "latency", "PostgreSQL: p50, of LISTEN/NOTIFY", median(ratios), "x", OF_NOTIFY,
            beside=beside,
        ),
    ]  # fmt: skip
    for kind in KINDS:
        p99 = percentile(times[kind], 0.99) * 1e3
        target = P99_MS if kind == "postgres" else None
        figures.append(Figure("latency", f"{TITLES[kind]}: p99", p99, "ms", target))
    p50 = percentile(times["sqlite"], 0.5) * 1e3
    figures.append(Figure("latency", "SQLite: p50", p50, "ms"))
    return figures
