"""Runs that wait for an operator go on when what they met was changed."""

from __future__ import annotations

from datetime import timedelta

import perdure
from perdure import step
from tests.unit.runtime.harness import House


async def test_a_run_over_its_limit_of_entries_goes_on_under_a_higher_one(house: House) -> None:
    @step
    async def work(n: int) -> int:
        house.did[str(n)] += 1
        return n

    async def agent() -> int:
        return sum([await work(n) for n in range(5)])

    house.serve(agent, max_entries=3)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await house.parked(run_id, "limit")
    await house.stop(worker)
    house.app.agents.clear()
    house.serve(agent, max_entries=30)
    await house.worker()
    await house.store.redrive(run_id)
    assert await house.result(run_id) == 10
    assert set(house.did.values()) == {1}


async def test_a_diverged_run_goes_on_when_the_old_code_is_back(house: House) -> None:
    @step
    async def old() -> str:
        house.did["old"] += 1
        return "old"

    @step
    async def new() -> str:
        return "new"

    @step
    async def last() -> None:
        house.did["last"] += 1
        if house.did["last"] == 1:
            house.attempt(run_id).closing.hop()

    async def before() -> str:
        found = await old()
        await last()
        await last()
        return found

    async def after() -> str:
        found = await new()
        await last()
        await last()
        return found

    house.serve(before, name="agent")
    worker = await house.worker(claim=False)
    run_id = await house.submit("agent")
    await worker.take(await house.lease(worker))
    await house.stop(worker)

    house.app.agents.clear()
    house.serve(after, name="agent")
    worker = await house.worker()
    await house.parked(run_id, "diverged")
    await house.stop(worker)

    house.app.agents.clear()
    house.serve(before, name="agent")
    await house.worker()
    await house.store.redrive(run_id)
    assert await house.result(run_id) == "old"
    assert house.did == {"old": 1, "last": 2}


async def test_a_run_started_without_the_agents_code_has_the_agents_deadline(house: House) -> None:
    async def agent() -> None:
        await perdure.wait_for("never")

    house.serve(agent, timeout=timedelta(hours=1), park_after=0)
    await house.worker()
    run_id = await house.submit("agent")  # knows nothing of the policy
    await house.parked(run_id, "signal")
    await house.pass_time(timedelta(hours=2))
    run = await house.until(run_id)
    assert (run.state, run.error and run.error["code"]) == ("failed", "run_timeout")
