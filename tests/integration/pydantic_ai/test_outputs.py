"""Typed outputs, output functions and validators."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry, NativeOutput, PromptedOutput, RunContext, ToolOutput
from pydantic_ai.output import TextOutput
from pydantic_ai.usage import UsageLimits

from perdure.app import App
from perdure.frameworks.pydantic_ai import Configured
from perdure.testing.simulator import Reply
from tests.integration.pydantic_ai.conftest import CLAUDE, MODELS
from tests.integration.stage import Provide, Tally, tool_entries
from tests.running import Ground


class City(BaseModel):
    name: str
    people: int


ROME = {"name": "Rome", "people": 3}


@pytest.mark.parametrize(
    ("output", "reply"),
    [
        (City, Reply(tools=[("final_result", ROME)])),
        (ToolOutput(City, name="city"), Reply(tools=[("city", ROME)])),
        (NativeOutput(City), '{"name": "Rome", "people": 3}'),
        (PromptedOutput(City), '{"name": "Rome", "people": 3}'),
    ],
)
async def test_typed_output(ground: Ground, provide: Provide, output: Any, reply: Any) -> None:
    provide(reply)
    app = App()
    app.add(Agent(MODELS["chat"], name="a", output_type=output))
    await ground.begin(app)
    run = await ground.start("a", "Where?")
    assert await ground.result(run) == ROME
    assert await tool_entries(ground, run) == []


async def test_python_callers_get_the_type(ground: Ground, provide: Provide) -> None:
    app = App()
    agent = app.add(Agent(CLAUDE, name="a", output_type=City)).agent
    assert agent.output_type is City


async def test_an_output_function_is_an_effect(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    async def store(city: City) -> City:
        """Stores the city."""
        tally.done.append(f"store {city.people}")
        if city.people < 0:
            raise ModelRetry("People cannot be fewer than none.")
        return City(name=city.name.upper(), people=city.people)

    agent: Agent[object, City] = Agent(CLAUDE, name="a", output_type=store)

    @agent.output_validator
    async def check(ctx: RunContext[object], output: City) -> City:
        await tally.note("check")
        return output

    sim = provide(
        Reply(tools=[("final_result", {"name": "Rome", "people": -1})]),
        Reply(tools=[("final_result", ROME)]),
    )
    app = App()
    app.add(agent, tools={"store": "once"})
    tally.hold("check")
    await ground.begin(app)
    run = await ground.start("a", "Where?")
    await tally.reached("check")
    await ground.stop()
    tally.release("check")
    await ground.begin(app)
    assert await ground.result(run) == {"name": "ROME", "people": 3}
    assert tally.done == ["store -1", "store 3", "check", "check"]
    entries = await tool_entries(ground, run)
    assert {(e.name, str(e.promise)) for e in entries} == {("store", "once")}
    assert not sim.counts().repeated


@pytest.mark.parametrize("sync", [True, False])
async def test_a_text_function_is_an_effect(
    ground: Ground, provide: Provide, tally: Tally, sync: bool
) -> None:
    def shout(text: str) -> str:
        tally.done.append("shout")
        return text.upper()

    async def shout_async(text: str) -> str:
        return shout(text)

    function: Any = shout if sync else shout_async
    provide("Rome.")
    app = App()
    app.add(Agent(CLAUDE, name="a", output_type=TextOutput(function)))
    await ground.begin(app)
    run = await ground.start("a", "Where?")
    assert await ground.result(run) == "ROME."
    assert tally.done == ["shout"]
    (entry,) = {e.key: e for e in await tool_entries(ground, run)}.values()
    assert entry.name == function.__name__


async def test_a_validator_that_is_not_content(ground: Ground, provide: Provide) -> None:
    agent = Agent(CLAUDE, name="a")

    @agent.output_validator
    def check(ctx: RunContext[object], output: str) -> str:
        if ctx.partial_output:
            return output
        if "Rome" not in output:
            raise ModelRetry("Say Rome.")
        return output

    sim = provide("Paris.", "Rome.")
    app = App()
    app.add(agent)
    await ground.begin(app)
    assert await ground.result(await ground.start("a", "Where?")) == "Rome."
    assert sim.counts().answered == 2


async def test_usage_limits_end_the_run(ground: Ground, provide: Provide, tally: Tally) -> None:
    agent = Agent(CLAUDE, name="a")

    @agent.tool_plain
    async def more() -> str:
        """Asks for more."""
        tally.done.append("more")
        return "more"

    sim = provide(*[Reply(tools=[("more", {})])] * 5, "Done.")
    app = App()
    app.add(Configured(agent, usage_limits=UsageLimits(request_limit=2)))
    await ground.begin(app)
    run = await ground.until(await ground.start("a", "Go."))
    assert run.state == "failed"
    assert "UsageLimitExceeded" in str(run.error)
    assert sim.counts().answered == 2
