"""Runs wait for quota: warm for a moment, parked for longer, and never refused by the provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import anthropic
import orjson
import pytest

from perdure.app import App
from perdure.core.admission.demand import Demand, Later
from perdure.gateway.admission import Admission, Pass
from perdure.testing.simulator import Limit, ProviderSimulator, Quota, Reply, script
from tests.integration.gateway.conftest import Begin
from tests.running import Ground

ASK: Any = [{"role": "user", "content": "Say something."}]


async def ask() -> None:
    client = anthropic.AsyncAnthropic()
    await client.messages.create(model="claude-sonnet-5-5", max_tokens=50, messages=ASK)


@pytest.fixture
async def sim() -> AsyncIterator[ProviderSimulator]:
    with ProviderSimulator(script([Reply("Fine.")])) as made:
        made.set_limits([Quota((Limit("requests", 60, kind="window"),))])
        yield made


def limits(rpm: int, patience: str = "10s", more: str = "") -> str:
    return f"""
[gateway]
patience = "{patience}"
[[limits]]
provider = "anthropic"
model = "claude-*"
rpm = {rpm}
{more}
"""


async def test_what_waits_for_long_parks_and_keeps_its_place(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    async def agent() -> None:
        await ask()

    app = App()
    app.add(agent)
    await begin(app, sim, limits(2, patience="100ms"))
    first, second, third = [await ground.start("agent", None) for _ in range(3)]
    waiting = None
    for run in (first, second, third):
        found = await ground.until(run, "succeeded", "waiting")
        if found.state == "waiting":
            waiting = found
    assert waiting is not None
    [wait] = waiting.waits
    assert wait["reason"] == "quota"
    assert datetime.fromisoformat(wait["until"]) > await ground.store.now()
    # Its ticket is in the journal: whoever goes on with it stands where it stood.
    [entry] = [e for e in await ground.store.journal(waiting.id) if e.kind == "model"]
    assert entry.state == "intent"
    assert entry.value is not None
    assert orjson.loads(entry.value)["since"] > 0
    assert (await ground.store.get(waiting.id)).attempts == 0


async def test_a_short_wait_stays_warm(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    async def agent() -> None:
        for _ in range(4):
            await ask()

    app = App()
    app.add(agent)
    await begin(app, sim, limits(240))
    run = await ground.start("agent", None)
    await ground.result(run)
    types = [event.type for event in await ground.events(run)]
    assert types.count("attempt.started") == 1
    assert sim.accounting().total.limited == 0


async def test_a_place_is_free_again_when_its_call_is_over(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    sim.set_limits([Quota((Limit("concurrent", 2),))])

    async def agent() -> None:
        await asyncio.gather(*(ask() for _ in range(10)))

    app = App()
    app.add(agent)
    text = '[[limits]]\nprovider = "anthropic"\nconcurrent = 2\n'
    await begin(app, sim, text)
    await ground.result(await ground.start("agent", None))
    total = sim.accounting().total
    assert (total.answered, total.limited) == (10, 0)


async def test_a_call_that_was_given_up_leaves_no_place_taken(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    async def agent() -> str:
        held = [asyncio.create_task(ask()) for _ in range(2)]
        await asyncio.sleep(0)
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        await ask()
        return "asked"

    app = App()
    app.add(agent)
    text = '[[limits]]\nprovider = "anthropic"\nconcurrent = 1\n'
    await begin(app, sim, text)
    assert await ground.result(await ground.start("agent", None)) == "asked"


async def test_a_provider_without_limits_is_not_asked_about(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    sim.set_limits([])

    async def agent() -> None:
        await asyncio.gather(*(ask() for _ in range(20)))

    app = App()
    app.add(agent)
    await begin(app, sim, '[[limits]]\nprovider = "openai"\nrpm = 1\n')
    await ground.result(await ground.start("agent", None))
    assert sim.accounting().total.answered == 20


async def test_a_call_that_was_late_keeps_its_place(
    ground: Ground, begin: Begin, sim: ProviderSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its room was too old once it was told of: it asks again with the time of that as its ticket,
    and not behind all who came meanwhile."""
    late, tickets, given = iter([True]), list[float](), list[float]()
    enter = Admission.enter

    async def noted(self: Admission, provider: str, demand: Demand, *more: Any) -> Pass | Later:
        tickets.append(demand.since)
        got = await enter(self, provider, demand, *more)
        assert isinstance(got, Pass)
        given.append(got.admitted.at)
        return got

    monkeypatch.setattr(Admission, "enter", noted)
    monkeypatch.setattr(Pass, "expired", lambda self: next(late, False))

    async def agent() -> None:
        await ask()

    app = App()
    app.add(agent)
    await begin(app, sim, limits(60))
    await ground.result(await ground.start("agent", None))
    assert tickets == [0.0, given[0]]
