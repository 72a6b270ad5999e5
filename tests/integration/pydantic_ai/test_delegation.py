"""Agents that are called by tools: what they ask and do belongs to the tool's call."""

from __future__ import annotations

import asyncio

from pydantic_ai import Agent, RunContext
from pydantic_ai.usage import RunUsage

from perdure.app import App
from perdure.core.record import EntryState, Kind
from perdure.testing.simulator import Call, Reply
from tests.integration.pydantic_ai.conftest import CLAUDE, MODELS
from tests.integration.stage import Provide, Tally
from tests.running import Ground


def brain(call: Call) -> Reply:
    """The outer agent delegates twice at once and ends; the inner one looks once."""
    names = {tool.name for tool in call.tools}
    if "ask" in names:
        if call.turn == 0:
            return Reply(tools=[("ask", {"about": "tides"}), ("ask", {"about": "stars"})])
        if call.turn == 1:
            return Reply(tools=[("last", {})])
        return Reply("Done.")
    if call.turn == 0:
        return Reply(tools=[("look", {"what": call.prompt})])
    return Reply(f"about {call.prompt}")


def family(tally: Tally, usages: list[RunUsage] | None = None) -> Agent[object, str]:
    inner = Agent(MODELS["chat"], name="inner")

    @inner.tool_plain
    async def look(what: str) -> str:
        """Looks."""
        await tally.note(f"look {what}")
        return f"seen {what}"

    outer = Agent(CLAUDE, name="outer")

    @outer.tool
    async def ask(ctx: RunContext[object], about: str) -> str:
        """Asks another agent."""
        tally.done.append(f"ask {about}")
        return (await inner.run(about, usage=ctx.usage)).output

    @outer.tool
    async def last(ctx: RunContext[object]) -> str:
        """Ends."""
        if usages is not None:
            usages.append(ctx.usage + RunUsage())
        await tally.note("last")
        return "ok"

    return outer


async def test_the_scopes_of_what_an_inner_agent_does(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    provide(brain)
    app = App()
    app.add(family(tally))
    await ground.begin(app)
    run = await ground.start("outer", "Go.")
    assert await ground.result(run) == "Done."
    entries = [e for e in await ground.store.journal(run) if e.state == EntryState.DONE]
    asks = {e.key for e in entries if e.name == "ask"}
    assert len(asks) == 2
    assert {e.scope for e in entries if e.name == "look"} == asks
    inner = [e for e in entries if e.kind == Kind.MODEL and e.scope]
    assert sorted(e.scope for e in inner) == sorted([*asks, *asks])


async def test_lost_within_an_inner_agent(ground: Ground, provide: Provide, tally: Tally) -> None:
    sim = provide(brain)
    app = App()
    app.add(family(tally))
    tally.hold("look stars")
    await ground.begin(app)
    run = await ground.start("outer", "Go.")
    await tally.reached("look stars")
    await ground.recorded(run, "ask")
    await ground.stop()
    tally.release("look stars")
    await ground.begin(app)
    assert await ground.result(run) == "Done."
    assert tally.count("ask tides") == 1
    assert tally.count("look tides") == 1
    assert tally.count("ask stars") == 2  # cut, so it runs again; what it had paid is answered
    assert not sim.counts().repeated
    assert sim.counts().answered == 7


async def test_the_usage_of_inner_agents_counts_in_a_replay_too(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    provide(brain)
    usages: list[RunUsage] = []
    app = App()
    app.add(family(tally, usages))
    tally.hold("last")
    await ground.begin(app)
    run = await ground.start("outer", "Go.")
    await tally.reached("last")
    await ground.stop()
    tally.release("last")
    await ground.begin(app)
    assert await ground.result(run) == "Done."
    live, replayed = usages
    assert live == replayed
    assert (live.requests, live.tool_calls) == (6, 4)
    assert live.input_tokens > 0


async def test_agents_in_parallel_within_a_tool(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    def answers(call: Call) -> Reply:
        if {tool.name for tool in call.tools} == {"both"}:
            return Reply("Done.") if call.turn else Reply(tools=[("both", {})])
        if call.turn == 0:
            return Reply(tools=[("look", {"what": call.prompt})])
        return Reply("ok")

    sim = provide(answers)
    inner = Agent(CLAUDE, name="inner")

    @inner.tool_plain
    async def look(what: str) -> str:
        """Looks."""
        await tally.note(f"look {what}")
        return "seen"

    outer = Agent(CLAUDE, name="outer")

    @outer.tool_plain
    async def both() -> str:
        """Asks two at once."""
        results = await asyncio.gather(*(inner.run(name) for name in ("one", "two")))
        return " and ".join(result.output for result in results)

    app = App()
    app.add(outer)
    tally.hold("look two")
    await ground.begin(app)
    run = await ground.start("outer", "Go.")
    await tally.reached("look two")
    await ground.recorded(run, CLAUDE.replace(":", "/"), 4)  # all that the other one asks
    await ground.stop()
    tally.release("look two")
    await ground.begin(app)
    assert await ground.result(run) == "Done."
    assert tally.count("look one") == 1
    assert not sim.counts().repeated
