"""Agents as they are: nothing paid for is paid twice, nothing done is done twice, whenever the
worker goes away."""

from __future__ import annotations

import pytest
from pydantic_ai import Agent

from perdure.app import App
from perdure.core.record import Kind
from perdure.testing.simulator import Reply
from tests.integration.pydantic_ai.conftest import CLAUDE, MODELS
from tests.integration.stage import Provide, Tally, tool_entries
from tests.running import Ground

BOTH = Reply("I look.", tools=[("search", {"q": "tides"}), ("fetch", {"url": "moon"})])


def researcher(tally: Tally, model: str = CLAUDE) -> Agent[object, str]:
    agent = Agent(model, name="researcher")

    @agent.tool_plain
    def search(q: str) -> str:
        """Search the library."""
        tally.note_sync("search")
        return f"found {q}"

    @agent.tool_plain
    async def fetch(url: str) -> str:
        """Fetch a page."""
        await tally.note("fetch")
        return f"page {url}"

    return agent


@pytest.mark.parametrize("held", ["search", "fetch"])
@pytest.mark.parametrize("model", MODELS)
async def test_parallel_tools_half_done(
    ground: Ground, provide: Provide, tally: Tally, held: str, model: str
) -> None:
    sim = provide(BOTH, "It is the moon.")
    app = App()
    app.add(researcher(tally, MODELS[model]))
    tally.hold(held)
    await ground.begin(app)
    run = await ground.start("researcher", "Why are there tides?")
    await tally.reached(held)
    other = {"search": "fetch", "fetch": "search"}[held]
    await ground.recorded(run, other)
    await ground.stop()
    tally.release(held)
    await ground.begin(app)
    assert await ground.result(run) == "It is the moon."
    assert tally.count(other) == 1
    assert tally.count(held) == 2
    assert await ground.warnings(run) == ["rerun"]
    assert sim.counts().answered == 2
    assert not sim.counts().repeated


async def test_tool_calls_are_branches_named_by_their_ids(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    provide(BOTH, "It is the moon.")
    app = App()
    app.add(researcher(tally))
    await ground.begin(app)
    run = await ground.start("researcher", "Why are there tides?")
    await ground.result(run)
    intents = {e.name: e for e in await tool_entries(ground, run)}
    assert set(intents) == {"search", "fetch"}
    branches = {e.branch for e in intents.values()}
    assert len(branches) == 2
    assert all(branch.startswith("step#1/toolu_") for branch in branches)
    models = [e.branch for e in await ground.store.journal(run) if e.kind == Kind.MODEL]
    assert models == ["step#1", "step#2"]


async def test_stopped_while_the_model_answers(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    sim = provide(BOTH, "It is the moon.")
    app = App()
    app.add(researcher(tally))
    tally.hold("fetch")
    await ground.begin(app)
    run = await ground.start("researcher", "Why are there tides?")
    await tally.reached("fetch")
    sim.hold()
    tally.release("fetch")
    await sim.wait(held=1)
    await ground.stop()
    sim.release()
    await ground.begin(app)
    assert await ground.result(run) == "It is the moon."
    assert sorted(tally.done) == ["fetch", "search"]
    assert sim.counts().answered == 2


@pytest.mark.parametrize("held", ["search", "fetch"])
async def test_a_drain_goes_on_where_it_stopped(
    ground: Ground, provide: Provide, tally: Tally, held: str
) -> None:
    sim = provide(BOTH, "It is the moon.")
    app = App()
    app.add(researcher(tally))
    tally.hold(held)
    worker = await ground.begin(app)
    run = await ground.start("researcher", "Why are there tides?")
    await tally.reached(held)
    draining = await ground.drain(worker)
    tally.release(held)
    await draining
    assert (await ground.store.get(run)).state == "queued"
    await ground.begin(app)
    assert await ground.result(run) == "It is the moon."
    assert sorted(tally.done) == ["fetch", "search"]
    assert await ground.warnings(run) == []
    assert not sim.counts().repeated
