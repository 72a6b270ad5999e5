"""A drill's share of real traffic goes through the fallback, on every worker, and ends."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from perdure.app import App
from perdure.cli.drill import traffic
from perdure.cli.drill.sides import Bars
from perdure.core import drill
from perdure.core.drill import Drill
from perdure.core.shared import Swap
from perdure.errors import Conflict
from perdure.store.costs import CostFilter
from perdure.testing.simulator import Fault, ProviderSimulator
from tests.integration.gateway.conftest import Begin
from tests.integration.gateway.test_failover import keys, routes, sim, whole
from tests.running import Ground

__all__ = ["keys", "sim"]

MINUTES = timedelta(minutes=10)


async def begun(ground: Ground, percent: float = 100, length: timedelta = MINUTES) -> Drill:
    id = os.urandom(6).hex()
    return await traffic.begin(ground.store, id, "claude", "west", percent, length, "me")


async def twice() -> None:
    await whole()
    await whole()


async def ran(ground: Ground, runs: int = 1) -> None:
    for _ in range(runs):
        await ground.result(await ground.start("agent", None))


async def answered(ground: Ground) -> dict[tuple[str, str], int]:
    rows = await ground.store.costs(CostFilter(by=("target", "why"), source="sent"))
    return {(row.group["target"], row.group["why"]): row.calls for row in rows}


async def test_the_fallback_is_asked_first_and_both_are_compared(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    app = App()
    app.add(twice, name="agent")
    end = await begin(app, sim, routes(sim))
    one = await begun(ground, 50)
    await ran(ground, 20)
    await end()
    found = await answered(ground)
    assert set(found) == {("east", "first"), ("west", "drill")}
    # All calls of a run are in it, or none.
    by_run = await ground.store.costs(CostFilter(by=("run_id", "target")))
    assert len({row.group["run_id"] for row in by_run}) == len(by_run) == 20
    seen = await traffic.look(ground.store, one)
    primary, drilled = seen.sides
    assert (primary.target, drilled.target) == ("east", "west")
    assert primary.calls + drilled.calls == 40
    assert drilled.answered == drilled.calls == found["west", "drill"]
    assert seen.passed(Bars(latency=1000))
    assert 0 < (drilled.cost_per_answer or 0) < (primary.cost_per_answer or 0)


async def test_what_the_fallback_fails_the_primary_answers(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    sim.set_faults([Fault("500")], target="west")
    app = App()
    app.add(whole, name="agent")
    end = await begin(app, sim, routes(sim))
    one = await begun(ground)
    await ran(ground, 3)
    await end()
    assert await answered(ground) == {("east", "after west"): 3}
    seen = await traffic.look(ground.store, one)
    assert (seen.sides[1].calls, seen.sides[1].answered) == (3, 0)
    assert not seen.passed(Bars())


async def test_a_fallback_whose_breaker_is_open_is_not_drilled(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    sim.set_faults([Fault("500")], target="west")
    app = App()
    app.add(whole, name="agent")
    end = await begin(app, sim, routes(sim, 'break_after = 1\nopen_for = "1h"'))
    await begun(ground)
    await ran(ground, 3)
    await end()
    assert await answered(ground) == {("east", "after west"): 1, ("east", "first"): 2}


async def test_it_ends_when_it_is_stopped(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    app = App()
    app.add(whole, name="agent")
    one = await begun(ground)
    assert not await traffic.end(ground.store, "claude", "another")
    assert list(await traffic.known(ground.store)) == [one]
    assert await traffic.end(ground.store, "claude", one.id)
    assert not await traffic.end(ground.store, "claude")
    assert await traffic.known(ground.store) == []
    end = await begin(app, sim, routes(sim))
    await ran(ground)
    await end()
    assert await answered(ground) == {("east", "first"): 1}


async def test_it_ends_by_itself(ground: Ground, begin: Begin, sim: ProviderSimulator) -> None:
    """Whoever began it may be gone."""
    now = (await ground.store.now()).timestamp()
    over = Drill("d", "claude", "west", 100.0, now - 60, now - 1)
    await ground.store.swap((), [Swap(drill.key("claude"), 0, drill.encode(over))])
    app = App()
    app.add(whole, name="agent")
    end = await begin(app, sim, routes(sim))
    await ran(ground)
    await end()
    assert await answered(ground) == {("east", "first"): 1}
    assert (await begun(ground)).id != "d"  # and another one may begin


async def test_one_at_a_time(ground: Ground) -> None:
    await begun(ground)
    with pytest.raises(Conflict, match="is drilled already, by me"):
        await begun(ground)
