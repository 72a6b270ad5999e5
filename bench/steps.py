"""Durable steps: runs of tiny steps through one worker, beside the bare group commit.

    python -m bench.steps --store postgres --runs 2000 --at-once 200 --steps 20

From the first enqueue to the end of the last run, in this process; the limit (bench/limits.py) has
as many writers as there are runs at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from bench import runs as submitted
from bench.agents import app
from bench.figure import Figure, Size, median
from bench.limits import Rate, postgres_limit, sqlite_limit
from bench.scene import KINDS, TITLES, Kind, Scene, opened
from perdure.cli.process import spare_collector
from perdure.core.run import RunState
from perdure.runtime.attempt import Attempt
from perdure.runtime.execution import Ended
from perdure.runtime.worker import Worker, WorkerSettings
from perdure.store import Store
from perdure.store.blobs import FileBlobs

# Of the limit: (200 runs at a time, one alone).
SHARES: dict[Kind, tuple[float, float]] = {"postgres": (1 / 8, 1 / 3), "sqlite": (1 / 10, 2 / 3)}
CPU_US = 45.0  # of the worker's processor time, an effect (PostgreSQL)


@dataclass(frozen=True, slots=True)
class Work:
    """``runs`` runs, ``at_once`` in flight, of ``steps`` steps each."""

    runs: int
    at_once: int
    steps: int

    @property
    def effects(self) -> int:
        return self.runs * self.steps


@dataclass(frozen=True, slots=True)
class Done:
    """``rate`` in effects a second, ``cpu_us`` of this process an effect."""

    rate: float
    cpu_us: float


async def perform(store: Store, folder: Path, work: Work) -> Done:
    """Let one worker of this process, which is set up like ``perdure worker``, do the work. Raises
    RuntimeError where a run fails."""
    spare_collector()
    settings = WorkerSettings(concurrency=work.at_once)
    worker = Worker(store, FileBlobs(folder), {"ticks": app.agents["ticks"]}, settings)
    states: list[RunState | None] = []
    over = asyncio.Event()

    def ended(_: Attempt, end: Ended | None) -> None:
        states.append(end.state if end is not None else None)
        if len(states) == work.runs:
            over.set()

    worker.on_end = ended
    await worker.start()
    given = [submitted.new("ticks", work.steps) for _ in range(work.runs)]
    before, begun = _cpu_s(), time.perf_counter()
    await submitted.enqueue(store, given)
    await over.wait()
    wall, spent = time.perf_counter() - begun, _cpu_s() - before
    await worker.stop()
    if set(states) != {RunState.SUCCEEDED}:
        raise RuntimeError(f"runs ended as {set(states)}")
    return Done(work.effects / wall, spent / work.effects * 1e6)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def limit(scene: Scene, kind: Kind, work: Work, *, inline: bool = False) -> Rate:
    """The bare group commit of as many entries."""
    each = work.effects // work.at_once
    if kind == "postgres":
        (rate,) = await postgres_limit(scene.url(kind), runs=work.at_once, steps=each)
        return rate
    scene.url(kind)
    path = scene.path("limit.db")
    (rate,) = await sqlite_limit(path, runs=work.at_once, steps=each, inline=inline)
    return rate


async def one_round(scene: Scene, kind: Kind, work: Work) -> tuple[Rate, Done]:
    """The limit and Perdure, one after the other, each on a database of its own."""
    bare = await limit(scene, kind, work)
    async with opened(scene.url(kind)) as store:
        return bare, await perform(store, scene.path("blobs"), work)


async def measure(size: Size) -> list[Figure]:
    """Both stores, many runs at a time and one alone."""
    figures: list[Figure] = []
    many = Work(size.of(2000, 40), size.of(200, 20), 20)
    # One run alone is two to twenty times slower: a tenth of the effects are enough.
    alone = Work(size.of(20, 2), 1, 200)
    with Scene() as scene:
        for kind in KINDS:
            for work, share in zip((many, alone), SHARES[kind], strict=True):
                await one_round(scene, kind, Work(work.at_once, work.at_once, work.steps))
                rounds = [await one_round(scene, kind, work) for _ in range(size.repeat)]
                figures += _figures(kind, work, share, rounds)
    return figures


def _figures(kind: Kind, work: Work, share: float, rounds: list[tuple[Rate, Done]]) -> list[Figure]:
    title = f"{TITLES[kind]}, {work.at_once} at once"
    rate = median(done.rate for _, done in rounds)
    bare = median(rate.per_second for rate, _ in rounds)
    found = [
        Figure(
            "steps", f"{title}: of the limit",
            median(done.rate / rate.per_second for rate, done in rounds), "",
            share, True, f"{rate:,.0f} of {bare:,.0f} effects/s",
        )
    ]  # fmt: skip
    if kind == "postgres" and work.at_once > 1:
        cpu = median(done.cpu_us for _, done in rounds)
        found.append(Figure("steps", f"{title}: CPU an effect", cpu, "us", CPU_US))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=KINDS, default="sqlite")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    work = Work(options.runs, options.at_once, options.steps)

    async def rounds() -> None:
        with Scene() as scene:
            for _ in range(options.repeat):
                bare, done = await one_round(scene, options.store, work)
                print(
                    f"{done.rate:9,.0f}/s {done.cpu_us:6.1f} us; limit {bare.per_second:9,.0f}/s; "
                    f"{done.rate / bare.per_second:.3f} of it",
                    flush=True,
                )

    asyncio.run(rounds())


if __name__ == "__main__":
    main()
