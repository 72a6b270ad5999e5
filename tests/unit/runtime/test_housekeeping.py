"""What is kept no longer is deleted by the leader, a little at a time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from perdure.codec import BLOB
from perdure.core.charge import Charge
from perdure.core.run import RunState
from perdure.errors import NotFound, StoreUnavailable
from perdure.runtime import housekeeping
from perdure.runtime.housekeeping import Housekeeping, Pace, Pruned, Pruning
from perdure.runtime.maintenance import Maintenance
from perdure.store.blobs import MAX_INLINE, now
from perdure.store.costs import CostFilter
from perdure.store.retention import Keeping, Retention
from tests.unit.runtime.harness import House

DAY = timedelta(days=1)
AT_ONCE = Pace(0, 0)
RULES = Retention({RunState.SUCCEEDED: DAY}, {"kept": {RunState.SUCCEEDED: None}})


async def echo(text: str) -> str:
    return text


async def ended(house: House, agent: str, value: str = "x") -> str:
    run_id = await house.submit(agent, value)
    await house.until(run_id)
    return run_id


async def served(house: House) -> None:
    house.serve(echo)
    house.serve(echo, name="kept")
    await house.worker()


async def test_a_pass_deletes_by_the_rules(house: House) -> None:
    await served(house)
    old = [await ended(house, "echo") for _ in range(3)]
    kept = await ended(house, "kept")
    house.store.shift_clock(DAY)
    young = await ended(house, "echo")
    steps: list[int] = []
    keeping = Keeping(RULES)
    dry = await Pruning(house.store, house.blobs, keeping, pace=AT_ONCE, dry=True).run()
    assert (dry.runs, dry.rows) == (3, 0)
    done = await Pruning(
        house.store, house.blobs, keeping, pace=AT_ONCE, told=lambda p: steps.append(p.runs)
    ).run()
    assert done.runs == 3
    assert done.rows > 0
    assert steps[-1] == 3
    for run_id in old:
        with pytest.raises(NotFound):
            await house.store.get(run_id)
    for run_id in (kept, young):
        assert (await house.store.get(run_id)).state is RunState.SUCCEEDED
    assert await Pruning(house.store, house.blobs, keeping, pace=AT_ONCE).run() == Pruned()


async def test_blobs_go_when_nothing_refers_to_them_and_they_are_old(house: House) -> None:
    await served(house)
    large = "x" * (MAX_INLINE + 1)
    run_id = await ended(house, "echo", large)
    reference = (await house.store.get(run_id)).result
    assert reference is not None
    assert reference[:1] == BLOB
    orphan = house.blobs.put(b"orphan")
    fresh = house.blobs.put(b"about to be referred to")
    for each in (reference, orphan):
        name = each[1:].decode()
        os.utime(house.blobs._folder / name[:2] / name, (now() - 2 * 86400,) * 2)
    keeping = Keeping(blobs=DAY)
    dry = await Pruning(house.store, house.blobs, keeping, pace=AT_ONCE, dry=True).run()
    done = await Pruning(house.store, house.blobs, keeping, pace=AT_ONCE).run()
    assert (dry.blobs, done.blobs, done.blob_bytes) == (1, 1, 6)
    assert house.blobs.has(reference)
    assert house.blobs.has(fresh)
    assert not house.blobs.has(orphan)
    house.store.shift_clock(2 * DAY)
    whole = Keeping(RULES, blobs=DAY)
    done = await Pruning(house.store, house.blobs, whole, pace=AT_ONCE).run()
    assert (done.runs, done.blobs) == (1, 1)
    assert [b.name for b in house.blobs.stored()] == [fresh[1:].decode()]


async def test_the_ledger_goes_by_its_own_age(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "CHARGES", 2)
    charges = [Charge(b"%16d" % n, "agent", "p", "m") for n in range(6)]
    await house.store.charge(charges[:5])
    house.store.shift_clock(2 * DAY)
    await house.store.charge(charges[5:])
    assert not Keeping().anything
    assert await Pruning(house.store, house.blobs, Keeping(RULES), pace=AT_ONCE).run() == Pruned()
    keeping = Keeping(charges=DAY)
    dry = await Pruning(house.store, house.blobs, keeping, pace=AT_ONCE, dry=True).run()
    assert dry == Pruned(charges=5)
    told: list[int] = []
    done = await Pruning(
        house.store, house.blobs, keeping, pace=AT_ONCE, told=lambda p: told.append(p.charges)
    ).run()
    assert done == Pruned(charges=5)
    assert [n for n in told if n] == [2, 4, 5]
    (left,) = await house.store.costs(CostFilter())
    assert left.calls == 1


async def test_after_each_step_comes_a_pause_longer_than_it_took(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served(house)
    for _ in range(3):
        await ended(house, "echo")
    house.store.shift_clock(2 * DAY)
    monkeypatch.setattr(housekeeping, "FAMILIES", 1)
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float, *more: Any) -> None:
        if seconds >= 0.05:
            pauses.append(seconds)
            seconds = 0
        await sleep(seconds, *more)

    monkeypatch.setattr(asyncio, "sleep", noted)
    await Pruning(house.store, house.blobs, Keeping(RULES)).run()
    # A look, three runs, and for each what it left.
    assert len(pauses) >= 7


async def test_it_ends_when_another_leads(house: House) -> None:
    await served(house)
    for _ in range(3):
        await ended(house, "echo")
    house.store.shift_clock(2 * DAY)
    looked: list[None] = []

    def leading() -> bool:
        looked.append(None)
        return len(looked) < 3

    await Housekeeping(house.store, house.blobs, Keeping(RULES)).once(leading)
    page = await house.store.old_runs(0, await house.store.now())
    left = await house.store.clear()
    assert page.runs or left.rows, "something was left for the next leader"


class Clock:
    """Stands in for the pauses between passes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pauses: list[float] = []
        self._passes = asyncio.Semaphore(0)
        self._asked = asyncio.Semaphore(0)
        sleep = asyncio.sleep

        async def slept(seconds: float, *more: Any) -> None:
            if seconds < housekeeping.FIRST.total_seconds():
                await sleep(seconds, *more)
                return
            self.pauses.append(seconds)
            self._asked.release()
            await self._passes.acquire()

        monkeypatch.setattr(asyncio, "sleep", slept)

    async def idle(self) -> None:
        """Until it sleeps between two passes."""
        await self._asked.acquire()

    def go_on(self) -> None:
        self._passes.release()


async def test_the_leader_deletes_now_and_then(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served(house)
    run_id = await ended(house, "echo")
    house.store.shift_clock(2 * DAY)
    clock = Clock(monkeypatch)
    keeper = Housekeeping(house.store, house.blobs, Keeping(RULES))
    leads = False
    task = asyncio.create_task(keeper.run(lambda: leads))
    await clock.idle()
    clock.go_on()
    await clock.idle()
    assert (await house.store.get(run_id)).state is RunState.SUCCEEDED, "another leads"
    leads = True
    clock.go_on()
    await clock.idle()
    with pytest.raises(NotFound):
        await house.store.get(run_id)
    first, every = housekeeping.FIRST.total_seconds(), housekeeping.EVERY.total_seconds()
    assert clock.pauses == [first, first, every]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_trouble_is_no_end_of_it(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(monkeypatch)
    keeper = Housekeeping(house.store, house.blobs, Keeping(RULES))
    errors = [StoreUnavailable("away"), RuntimeError("a bug")]

    async def broken(leading: Callable[[], bool]) -> Awaitable[Pruned]:
        raise errors.pop(0)

    keeper.once = broken  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(keeper.run(lambda: True))
    for _ in range(3):
        await clock.idle()
        clock.go_on()
    assert not errors
    assert caplog.text.count("could not be deleted") == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_without_rules_nothing_is_looked_at(house: House) -> None:
    await Housekeeping(house.store, house.blobs, Keeping()).run(lambda: True)  # returns


async def test_it_ends_with_its_worker(house: House) -> None:
    keeper = Housekeeping(house.store, house.blobs, Keeping(RULES))
    maintenance = Maintenance(house.store, "leader", keeper)
    begun = asyncio.Event()
    over = asyncio.Event()

    async def run(leading: Callable[[], bool]) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            over.set()

    keeper.run = run  # type: ignore[method-assign]
    task = asyncio.create_task(maintenance.run())
    await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert over.is_set()
