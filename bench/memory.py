"""What runs cost a worker process: in flight, and parked.

A worker that is measured has executed runs already, and parked half as many as are then added, so
that what Python keeps for good is not counted.
"""

from __future__ import annotations

import asyncio

from bench import runs as submitted
from bench.figure import Figure, Size, median
from bench.scene import KINDS, TITLES, Kind, Process, Scene, opened, worker
from perdure.core.run import RunState
from perdure.store import Store

IN_FLIGHT_MB = 150.0
PARKED_MB = 5.0  # "none": half a kilobyte a run is what measurements vary by
STEPS = 3


async def in_flight(scene: Scene, kind: Kind, runs: int) -> float:
    """MB added by so many runs that are amid an effect."""
    url = scene.url(kind)
    async with opened(url) as store:
        with worker(url, concurrency=runs) as process:
            await process.ready()
            await _warm(store)
            idle = await _settled(process)
            await submitted.enqueue(store, [submitted.new("held", STEPS) for _ in range(runs)])
            await submitted.until(store, RunState.RUNNING, "held", runs)
            busy = await _settled(process)
            process.kill()
    return busy - idle


async def parked(scene: Scene, kind: Kind, runs: int) -> float:
    """MB added to a worker by so many runs that it parked."""
    url = scene.url(kind)
    async with opened(url) as store:
        with worker(url) as process:
            await process.ready()
            await _warm(store)
            # Until here the worker's memory grows to what so many claims at a time need.
            await _park(store, runs // 2)
            idle = await _settled(process)
            await _park(store, runs // 2 + runs)
            return await _settled(process) - idle


async def _warm(store: Store) -> None:
    given = [submitted.new("ticks", STEPS) for _ in range(200)]
    await submitted.enqueue(store, given)
    await submitted.until(store, RunState.SUCCEEDED, "ticks", len(given))


async def _park(store: Store, altogether: int) -> None:
    there = await submitted.count(store, RunState.WAITING, "pausing")
    given = [submitted.new("pausing", STEPS) for _ in range(altogether - there)]
    await submitted.enqueue(store, given)
    await submitted.until(store, RunState.WAITING, "pausing", altogether)


async def _settled(process: Process) -> float:
    """Its memory as soon as it does not move any more, within 10 s."""
    before = process.resident_mb()
    for _ in range(10):
        await asyncio.sleep(1)
        now = process.resident_mb()
        if abs(now - before) < 0.2:
            return now
        before = now
    return before


async def measure(size: Size) -> list[Figure]:
    """Both stores, a new worker for each measurement."""
    busy, away = size.of(1000, 50), size.of(10_000, 200)
    figures: list[Figure] = []
    with Scene() as scene:
        for kind in KINDS:
            rounds = range(size.of(min(size.repeat, 3), 1))
            flying = [await in_flight(scene, kind, busy) for _ in rounds]
            waiting = [await parked(scene, kind, away) for _ in rounds]
            title = TITLES[kind]
            figures += [
                Figure(
                    "memory", f"{title}: {busy:,} runs in flight add", median(flying), "MB",
                    IN_FLIGHT_MB,
                ),
                Figure(
                    "memory", f"{title}: {away:,} parked runs add", median(waiting), "MB", PARKED_MB
                ),
            ]  # fmt: skip
    return figures
