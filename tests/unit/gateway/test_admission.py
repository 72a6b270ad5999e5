"""A worker's side of admission: whom it asks for, and who does not stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from perdure.core.admission.demand import Demand, Later
from perdure.core.admission.limits import Limit, Pool, What
from perdure.core.shared import Swap, Swapped
from perdure.gateway.admission import Admission, Pass
from tests.unit.gateway.forgetful import Forgetful

SLOW = Pool("slow", (Limit(What.CONCURRENT, 10),))
FAST = Pool("fast", (Limit(What.REQUESTS, 1000),))
LONG = 1e6


@pytest.fixture
async def admission() -> AsyncIterator[Admission]:
    made = Admission(Forgetful(), "w")
    yield made
    await made.close()


async def enter(admission: Admission, pool: Pool, patience: float = LONG) -> Pass | Later:
    demand = Demand(admission.ids(), (pool.key,))
    return await admission.enter("anthropic", demand, [pool], patience)


async def fill(admission: Admission, waiting: int) -> list[asyncio.Task[Pass | Later]]:
    """The slow pool is full, and so many wait for it."""
    await asyncio.gather(*(enter(admission, SLOW) for _ in range(10)))
    tasks = [asyncio.create_task(enter(admission, SLOW)) for _ in range(waiting)]
    await asyncio.sleep(0)
    return tasks


async def end(tasks: list[asyncio.Task[Pass | Later]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_full_pool_is_in_no_other_ones_way(admission: Admission) -> None:
    tasks = await fill(admission, 100)
    got = await asyncio.wait_for(enter(admission, FAST), 5)
    assert isinstance(got, Pass)
    assert not any(task.done() for task in tasks)
    await end(tasks)


async def test_what_stands_far_back_does_not_stay_warm(admission: Admission) -> None:
    tasks = await fill(admission, 20)
    got = await asyncio.wait_for(enter(admission, SLOW, patience=0), 5)
    assert isinstance(got, Later)
    assert got.since > 0
    assert not any(task.done() for task in tasks)
    await end(tasks)


class Counting(Forgetful):
    """Counts the changes that it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0

    async def swap(self, reads: Sequence[str], swaps: Sequence[Swap] = ()) -> Swapped:
        self.changes += bool(swaps)
        return await super().swap(reads, swaps)


async def test_what_ended_goes_along_with_the_next_call() -> None:
    shared = Counting()
    admission = Admission(shared, "w")
    for _ in range(5):
        got = await enter(admission, FAST)
        assert isinstance(got, Pass)
        got.leave(None)
        for _ in range(10):  # the agent does something else meanwhile
            await asyncio.sleep(0)
    assert shared.changes == 5
    await admission.close()


async def test_room_is_given_back_at_once_to_another_worker_that_waits() -> None:
    shared = Counting()
    one, other = Admission(shared, "one"), Admission(shared, "other")
    pool = Pool("narrow", (Limit(What.CONCURRENT, 1),))
    held = await enter(one, pool)
    assert isinstance(held, Pass)
    waiting = asyncio.create_task(enter(other, pool))
    async with asyncio.timeout(10):
        while not other.waiting():  # noqa: ASYNC110
            await asyncio.sleep(0)
        # Its next look at the document tells it that somebody waits.
        refused = await enter(one, pool, patience=0)
    assert isinstance(refused, Later)
    line = one._lines["anthropic"]
    held.leave(None)
    assert line._lingering is None
    assert line._wake.is_set()
    await end([waiting])
    await one.close()
    await other.close()
