"""Where the whole run has no room, none of its agent's code is executed."""

from __future__ import annotations

from datetime import datetime, timedelta

import perdure
from perdure import step
from perdure.core.ports import About, Standstill
from tests.unit.runtime.harness import House


class Barrier:
    """Says what it is told to say, and what it was asked."""

    def __init__(self, answer: Standstill | None = None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, bool]] = []
        self.ended: list[bool] = []

    async def begin(self, about: About, *, resumed: bool) -> Standstill | None:
        self.asked.append((about.agent, resumed))
        return None if resumed else self.answer

    async def look(self, about: About) -> Standstill | None:
        return self.answer

    def end(self, run_id: str, *, succeeded: bool) -> None:
        self.ended.append(succeeded)


async def agent(_: None) -> str:
    return "begun"


def soon(now: datetime, *, strict: bool = False) -> Standstill:
    return Standstill(now + timedelta(hours=1), "no room in tokens/86400", strict)


async def test_a_run_without_room_waits_and_costs_no_attempt(house: House) -> None:
    barrier = Barrier(soon(await house.store.now()))
    house.serve(agent)
    worker = await house.worker()
    worker.runtime.preflight = barrier
    run_id = await house.submit("agent")
    run = await house.until(run_id, "waiting")
    assert run.attempts == 0
    assert [wait["reason"] for wait in run.waits] == ["quota"]
    assert run.waits[0]["detail"] == "no room in tokens/86400"
    assert barrier.ended == [False]
    assert await house.entries(run_id) == []
    barrier.answer = None
    await house.pass_time(timedelta(hours=2))  # it wakes by itself, or the worker was faster
    assert (await house.until(run_id, "succeeded")).result == b'"begun"'
    assert barrier.asked == [("agent", False), ("agent", False)]
    assert barrier.ended == [False, True]


async def test_a_strict_one_fails_without_another_try(house: House) -> None:
    house.serve(agent)
    worker = await house.worker()
    worker.runtime.preflight = Barrier(soon(await house.store.now(), strict=True))
    run = await house.until(await house.submit("agent"), "failed")
    assert run.error is not None
    assert run.error["code"] == "no_headroom"


async def test_one_that_no_waiting_helps_fails(house: House) -> None:
    house.serve(agent)
    worker = await house.worker()
    worker.runtime.preflight = Barrier(Standstill(None, "the budget is spent", strict=False))
    run = await house.until(await house.submit("agent"), "failed")
    assert run.error is not None
    assert "the budget is spent" in run.error["message"]


async def test_an_attempt_that_goes_on_says_so(house: House) -> None:
    @step
    async def before() -> None:
        house.did["before"] += 1

    async def waiter(_: None) -> str:
        await before()
        await perdure.wait_for("go")
        return "done"

    house.serve(waiter)
    worker = await house.worker()
    barrier = worker.runtime.preflight = Barrier()
    run_id = await house.submit("waiter")
    await house.until(run_id, "waiting")
    barrier.answer = soon(await house.store.now())
    await house.signal(run_id, "go")
    await house.until(run_id, "succeeded")
    assert barrier.asked == [("waiter", False), ("waiter", True)]
