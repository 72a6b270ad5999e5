"""kill -9 of one of two workers: how long until each of its runs begins its next step elsewhere,
and what was done twice.

Each step writes down when, where and for which run it began; a step that two processes wrote down
was done again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from bench import runs as submitted
from bench.figure import Figure, Size, percentile
from bench.scene import KINDS, TITLES, Kind, Scene, opened, worker
from perdure.core.record import EntryState, RecordType
from perdure.core.record import Kind as EffectKind
from perdure.core.run import RunState
from perdure.store import Store

P95_S = 0.5
STEPS = 30
STEP_S = 0.1


@dataclass(frozen=True, slots=True)
class Killed:
    """``pauses``: of each run that the killed worker had, from the kill to its next step.
    ``repeated``: steps done again, ``recorded_repeated``: those among them that were durable."""

    pauses: list[float]
    repeated: int
    recorded_repeated: int


async def kill_one(scene: Scene, kind: Kind, runs: int) -> Killed:
    """Half the runs are on a worker that is killed in the middle."""
    url = scene.url(kind)
    notes = scene.path("notes")
    notes.touch()
    environ = {"PERDURE_BENCH_NOTES": str(notes)}
    async with opened(url) as store:
        with worker(url, concurrency=runs, environ=environ) as first:
            await first.ready()
            walk = {"steps": STEPS, "seconds": STEP_S}
            given = [submitted.new("walking", walk) for _ in range(runs)]
            await submitted.enqueue(store, given)
            with worker(url, concurrency=runs, environ=environ) as second:
                await second.ready()
                await _until_walking(notes, runs)
                await asyncio.sleep(1.2)  # the second worker has found its neighbour long since
                first.kill()
                killed = time.time()
                # A statement on its way at the kill may still be carried out.
                await asyncio.sleep(0.02)
                durable = await _recorded(store, [run.id for run in given])
                await submitted.until(store, RunState.SUCCEEDED, "walking", runs, within=60)
    return _judge(_read(notes), killed, first.pid, durable)


async def _until_walking(notes: Path, runs: int) -> None:
    async with asyncio.timeout(20):
        while len({note["run"] for note in _read(notes)}) < runs:
            await asyncio.sleep(0.05)


async def _recorded(store: Store, runs: list[str]) -> dict[str, int]:
    """How many steps of each run are durable."""
    found: dict[str, int] = {}
    for run in runs:
        events = await store.events(run, limit=1000)
        found[run] = sum(
            event.type == RecordType.ENTRY
            and event.kind == EffectKind.STEP
            and event.state == EntryState.DONE
            for event in events
        )
    return found


def _read(notes: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in notes.read_text().splitlines() if line.endswith("}")]


def _judge(
    notes: list[dict[str, float]], killed: float, pid: int, durable: dict[str, int]
) -> Killed:
    began: dict[str, list[float]] = defaultdict(list)
    times: Counter[tuple[str, int]] = Counter()
    for note in notes:
        run = str(note["run"])
        times[run, int(note["n"])] += 1
        if note["pid"] != pid:
            began[run].append(note["at"])
    pauses = [min(at) - killed for at in began.values()]
    again = [step for step, number in times.items() if number > 1]
    return Killed(pauses, len(again), sum(n < durable[run] for run, n in again))


async def measure(size: Size) -> list[Figure]:
    """Both stores, ``size.repeat`` kills of 20 runs each."""
    figures: list[Figure] = []
    with Scene() as scene:
        for kind in KINDS:
            runs = size.of(20, 4)
            kills = [await kill_one(scene, kind, runs) for _ in range(size.of(size.repeat, 1))]
            pauses = [pause for one in kills for pause in one.pauses]
            title = f"{TITLES[kind]}: kill -9"
            again = sum(one.repeated for one in kills)
            figures += [
                Figure(
                    "kill", f"{title}, p95 to the next step", percentile(pauses, 0.95), "s", P95_S,
                    beside=f"{len(pauses)} runs, median {percentile(pauses, 0.5):.3f} s",
                ),
                Figure(
                    "kill", f"{title}, durable steps again",
                    sum(one.recorded_repeated for one in kills), "", 0,
                    beside=f"{again} steps in flight again",
                ),
            ]  # fmt: skip
    return figures
