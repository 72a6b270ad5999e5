"""Agents with ``durability="none"`` have no runs, and yet keep limits and budgets, and cost."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import anthropic
import pytest

import perdure
from perdure.app import App
from perdure.core.ports import current_account
from perdure.errors import RunFailed, RunTimeout
from perdure.runtime.halting import halt, lift
from perdure.server import direct
from perdure.store.costs import CostFilter
from perdure.testing.simulator import ProviderSimulator, Reply, script
from tests.integration.gateway.conftest import Begin
from tests.running import Ground

MODEL = "claude-sonnet-5-5"
SETTINGS = """
[[limits]]
provider = "anthropic"
concurrent = 1
rpm = 100

[[budgets]]
name = "all"
usd = 1
"""


async def whole(question: str) -> str:
    async with anthropic.AsyncAnthropic() as client:
        with perdure.feature("answers"):
            said = await client.messages.create(
                model=MODEL, max_tokens=50, messages=[{"role": "user", "content": question}]
            )
    return said.content[0].text  # type: ignore[union-attr]


async def streamed(question: str) -> str:
    words = []
    async with (
        anthropic.AsyncAnthropic() as client,
        client.messages.stream(
            model=MODEL, max_tokens=50, messages=[{"role": "user", "content": question}]
        ) as stream,
    ):
        async for word in stream.text_stream:
            words.append(word)
    return "".join(words)


def blocking(question: str) -> str:
    with anthropic.Anthropic() as client:
        said = client.messages.create(
            model=MODEL, max_tokens=50, messages=[{"role": "user", "content": question}]
        )
    return said.content[0].text  # type: ignore[union-attr]


def blocking_stream(question: str) -> str:
    with (
        anthropic.Anthropic() as client,
        client.messages.stream(
            model=MODEL, max_tokens=50, messages=[{"role": "user", "content": question}]
        ) as stream,
    ):
        return "".join(stream.text_stream)


def own_loop(question: str) -> str:
    return asyncio.run(whole(question))


AGENTS = (whole, streamed, blocking, blocking_stream, own_loop)


async def used(ground: Ground) -> float:
    found = await ground.store.listed("limits/")
    (document,) = [json.loads(each.body) for each in found.documents.values()]
    return float(sum(document["m"]["requests/60"][4]))


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.__name__)
async def test_calls_are_limited_and_charged(ground: Ground, begin: Begin, agent: Any) -> None:
    app = App()
    served = app.add(agent, durability="none").agent
    with ProviderSimulator(script([Reply("tides")] * 3)) as sim:
        end = await begin(app, sim, SETTINGS)
        runtime = ground.workers[-1].runtime
        for _ in range(3):
            _, result = await direct.perform(served, b'"Why?"', runtime, tenant="acme")
            assert result == b'"tides"'
        assert current_account.get() is None
        await end()
        assert sim.counts().answered == 3
    rows = await ground.store.charges(CostFilter())
    assert [(row.charge.agent, row.charge.tenant, row.charge.run_id) for row in rows] == [
        (agent.__name__, "acme", None)
    ] * 3
    assert all(row.charge.output and row.charge.cost for row in rows)
    expected = "answers" if agent in (whole, own_loop) else ""
    assert {row.charge.feature for row in rows} == {expected}
    assert await used(ground) == 3


async def test_without_room_it_waits_as_long_as_it_may(ground: Ground, begin: Begin) -> None:
    app = App()
    served = app.add(whole, durability="none", timeout=timedelta(seconds=1)).agent
    with ProviderSimulator(script([Reply("tides")] * 2)) as sim:
        await begin(app, sim, '[[limits]]\nprovider = "anthropic"\nrpm = 1\n')
        runtime = ground.workers[-1].runtime
        await direct.perform(served, b'"Why?"', runtime)
        with pytest.raises((RunFailed, RunTimeout)):
            await direct.perform(served, b'"Why?"', runtime)
        assert sim.counts().started == 1


async def test_money_and_switch(ground: Ground, begin: Begin) -> None:
    app = App()
    served = app.add(whole, durability="none").agent
    with ProviderSimulator(script([Reply("tides")] * 2)) as sim:
        settings = '[[budgets]]\nname = "mite"\nusd = "0.000001"\nper = "tenant"\n'
        await begin(app, sim, settings)
        runtime = ground.workers[-1].runtime
        await halt(ground.store, "agent", "whole", by="a test", reason="enough")
        with pytest.raises(RunFailed, match=r"403.*halted"):
            await direct.perform(served, b'"Why?"', runtime)
        await lift(ground.store, "agent", "whole")
        with pytest.raises(RunFailed, match=r"402.*mite"):
            await direct.perform(served, b'"Why?"', runtime, tenant="poor")
        assert sim.counts().started == 0


async def test_synchronous_calls_on_the_event_loop_are_refused(
    ground: Ground, begin: Begin
) -> None:
    async def careless(question: str) -> str:
        return blocking(question)

    app = App()
    served = app.add(careless, durability="none").agent
    with ProviderSimulator(script([Reply("tides")])) as sim:
        await begin(app, sim)
        with pytest.raises(RunFailed, match="event loop"):
            await direct.perform(served, b'"Why?"', ground.workers[-1].runtime)
