"""A play: runs come faster than the limits allow, workers are killed, the keeper of the limits goes
away and comes back; then the provider's own books are read."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from perdure.core.run import RunState
from perdure.errors import StoreUnavailable
from perdure.store.rows import Filter, NewRun
from tests.quota.lanes import CALLS, Lane
from tests.quota.scene import Scene

TICK_S = 0.25
SLICE_S = 10.0
CONCURRENCY = 40  # of a worker
SETTLE_S = 10.0  # after an outage: a lease, so that nobody is taken for dead without reason


@dataclass(frozen=True)
class Plan:
    """``span``: seconds that are counted, after ``warm``. ``kills``: seconds between them, about;
    0: none. ``outages``: the keeper goes away so often for ``away`` seconds; the last time Redis
    comes back empty. ``drain``: seconds that runs have to end afterwards; 0: nobody waits."""

    lanes: tuple[Lane, ...]
    keeper: str = "postgres"
    warm: float = 75.0
    span: float = 300.0
    kills: float = 12.0
    outages: int = 2
    away: float = 2.0
    drain: float = 420.0
    fence: bool = True
    seed: int = 1


@dataclass(frozen=True)
class Use:
    """Of one lane: what share of its limit was ``used``, ``least`` of what had to be, ``largest``
    in any window, refused calls."""

    lane: Lane
    used: float
    least: float
    largest: float
    limited: int
    calls: int

    @property
    def faults(self) -> list[str]:
        """What must not be."""
        found = []
        if self.limited:
            found.append(f"{self.lane.name}: {self.limited} calls were refused")
        if self.largest > 1.0:
            found.append(f"{self.lane.name}: {self.largest:.4f} of the limit was used at most")
        if self.used < self.least:
            found.append(
                f"{self.lane.name}: {self.used:.3f} of the limit was used, {self.least:.3f} "
                "could have been"
            )
        return found


@dataclass
class Figures:
    """What came of it."""

    uses: list[Use] = field(default_factory=list)
    runs: int = 0
    right: int = 0
    kills: int = 0
    alone: int = 0
    poison: int = 0
    outages: list[tuple[float, float]] = field(default_factory=list)
    words: str = ""

    @property
    def over_sent(self) -> list[str]:
        """Refusals, and limits that were passed."""
        return [
            fault for use in self.uses if use.limited or use.largest > 1 for fault in use.faults
        ]

    @property
    def faults(self) -> list[str]:
        """Everything that must not be."""
        found = [fault for use in self.uses for fault in use.faults]
        if self.right < self.runs:
            found.append(f"{self.runs - self.right} of {self.runs} runs did not end right")
        return found


async def play(plan: Plan, folder: Path) -> Figures:
    """From the first run to the last."""
    quotas = [lane.quota() for lane in plan.lanes]
    settings = "".join(lane.settings() for lane in plan.lanes)
    figures = Figures()
    async with Scene(
        folder,
        plan.keeper,
        quotas,
        settings,
        concurrency=CONCURRENCY,
        fence=plan.fence,
        seed=plan.seed,
    ) as scene:
        began = time.time()
        over = asyncio.Event()
        killing = asyncio.create_task(_kill(plan, scene, over))
        reviving = asyncio.create_task(_revive(scene))
        failing = asyncio.create_task(_fail(plan, scene, figures))
        try:
            await _demand(plan, scene, figures)
        finally:
            over.set()
        until = time.time()
        await asyncio.gather(killing, failing)
        await _drain(plan, scene, figures)
        reviving.cancel()
        figures.kills, figures.alone = scene.kills, await asyncio.to_thread(scene.alone)
        figures.uses = read(plan, scene, figures, began + plan.warm, until)
        scene.end()
        if figures.faults:
            figures.words = scene.words()
    return figures


async def _demand(plan: Plan, scene: Scene, figures: Figures) -> None:
    """Runs, as fast as their lane says."""
    chance = random.Random(plan.seed)
    due = dict.fromkeys(plan.lanes, 0.0)
    last = time.monotonic()
    until = last + plan.warm + plan.span
    rates = {lane: lane.runs_a_second() for lane in plan.lanes}
    runs: list[NewRun] = []
    while last < until:
        await asyncio.sleep(TICK_S)
        now = time.monotonic()
        for lane, rate in rates.items():
            due[lane] += rate * (now - last)
            while due[lane] >= 1:
                due[lane] -= 1
                runs.append(_run(lane, chance))
        last = now
        try:
            await scene.store.enqueue(runs)
        except StoreUnavailable:
            continue  # the same again: their ids make sure that they are there once
        figures.runs += len(runs)
        runs = []


def _run(lane: Lane, chance: random.Random) -> NewRun:
    id = str(uuid4())
    given = {"name": id, "model": lane.name, "calls": lane.calls(chance)}
    return NewRun(id, lane.name, json.dumps(given).encode(), queue=lane.name, max_attempts=1000)


async def _kill(plan: Plan, scene: Scene, over: asyncio.Event) -> None:
    """Random workers, as long as there is demand."""
    while plan.kills and not over.is_set():
        try:
            async with asyncio.timeout(plan.kills * scene.chance.uniform(0.6, 1.4)):
                await over.wait()
        except TimeoutError:
            scene.kill()


async def _revive(scene: Scene) -> None:
    while True:
        await asyncio.sleep(1)
        scene.revive()


async def _fail(plan: Plan, scene: Scene, figures: Figures) -> None:
    """The keeper goes away, and comes back."""
    for number in range(plan.outages):
        await asyncio.sleep((plan.warm if not number else 0) + plan.span / (plan.outages + 1))
        gone = time.time()
        await asyncio.to_thread(scene.crash)
        await asyncio.sleep(plan.away)
        last = number == plan.outages - 1
        await asyncio.to_thread(scene.recover, empty=last)
        # What was lost counts as used for a window.
        window = max(lane.window for lane in plan.lanes) if last and plan.keeper == "redis" else 0
        figures.outages.append((gone, time.time() + SETTLE_S + window))


async def _drain(plan: Plan, scene: Scene, figures: Figures) -> None:
    """Until all runs have ended, or time is over."""
    until = time.monotonic() + plan.drain
    while True:
        found = await asyncio.to_thread(scene.runs)
        figures.right = found.get(("succeeded", str(CALLS)), 0)
        # Three deaths within one call, the last of them alone, and a run is taken for the cause.
        # Here it is known who kills: an operator's redrive.
        for run in await scene.store.find(Filter(states=(RunState.DEAD,))):
            figures.poison += 1
            await scene.store.redrive(run.id)
        left = sum(count for (state, _), count in found.items() if state != "succeeded")
        if not left or time.monotonic() > until:
            return
        await asyncio.sleep(1)


def read(plan: Plan, scene: Scene, figures: Figures, since: float, until: float) -> list[Use]:
    """The provider's books. Outages are left out of what was used, never out of the largest."""
    times, start = [], since
    for gone, back in figures.outages:
        times.append((start, gone))
        start = min(back, until)
    if start < until:
        times.append((start, until))
    used = dict.fromkeys((lane.name for lane in plan.lanes), 0.0)
    length = sum(b - a for a, b in times)
    for a, b in times:
        books = scene.ask(f"accounting?since={a}&until={b}")
        for meter in books["meters"]:
            used[meter["quota"]] += meter["used"] / (meter["amount"] / meter["per"])
    meters = {meter["quota"]: meter for meter in books["meters"]}
    _write_course(plan, scene, since, until)
    found = []
    for lane in plan.lanes:
        meter, tally = meters[lane.name], books["by_model"].get(lane.name, {})
        killed = lane.lost(scene.kills, tally.get("aborted", 0))
        least = lane.least - killed / (lane.amount / 60 * (plan.warm + plan.span))
        found.append(
            Use(
                lane, used[lane.name] / length, max(0.1, least), meter["largest_share"],
                meter["limited"], tally.get("requests", 0),
            )
        )  # fmt: skip
    return found


def _write_course(plan: Plan, scene: Scene, since: float, until: float) -> None:
    """``use.csv``: what share of each limit was used, slice by slice, to see where it sank."""
    rows = [["seconds", *(lane.name for lane in plan.lanes)]]
    at = since
    while at + SLICE_S <= until:
        books = scene.ask(f"accounting?since={at}&until={at + SLICE_S}")
        used = {m["quota"]: m["used"] / (m["amount"] / m["per"]) / SLICE_S for m in books["meters"]}
        rows.append([f"{at - since:.0f}", *(f"{used[lane.name]:.3f}" for lane in plan.lanes)])
        at += SLICE_S
    (scene.folder / "use.csv").write_text("\n".join(",".join(row) for row in rows) + "\n")


def table(figures: Figures, keeper: str) -> str:
    """For people."""
    lines = [
        f"{keeper}: {figures.kills} kills, {len(figures.outages)} outages, "
        f"{figures.right} of {figures.runs} runs ended right "
        f"({figures.alone} executed alone, {figures.poison} taken for poison)",
        f"{'meter':<18} {'calls':>7} {'used':>7} {'at least':>9} {'largest':>8} {'429s':>5}",
    ]
    for use in figures.uses:
        lines.append(
            f"{use.lane.name:<18} {use.calls:>7} {use.used:>7.3f} {use.least:>9.3f} "
            f"{use.largest:>8.4f} {use.limited:>5}"
        )
    return "\n".join([*lines, *(f"FAILED {fault}" for fault in figures.faults)])
