"""A worker's side of admission: whom it asks for, and who does not stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from perdure.core.admission.demand import Demand, Later
from perdure.core.admission.limits import Limit, Pool, What
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
