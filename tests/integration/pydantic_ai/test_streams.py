"""Tokens, events, and agents that functions of the user's own run in every form there is."""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import replace
from typing import Any

import pytest
from pydantic_ai import Agent, AgentStreamEvent, RunContext
from pydantic_ai.agent import WrapperAgent
from pydantic_ai.messages import FunctionToolResultEvent, PartDeltaEvent
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.run import AgentRunResultEvent

from perdure.app import App
from perdure.core.record import Kind, RecordType
from perdure.frameworks.pydantic_ai import Configured
from perdure.testing.simulator import Call, Reply
from tests.integration.pydantic_ai.conftest import CLAUDE, MODELS, noting
from tests.integration.pydantic_ai.test_agents import BOTH, researcher
from tests.integration.stage import Provide, Tally, emitted, tool_entries
from tests.running import Ground


async def tokens(ground: Ground, run: str) -> int:
    events = await ground.events(run)
    return sum(1 for e in events if e.type == RecordType.DELTA and e.kind == Kind.MODEL)


@pytest.mark.parametrize("stream", [True, False])
async def test_tokens_are_told(ground: Ground, provide: Provide, stream: bool) -> None:
    seen: list[Call] = []
    provide(noting(seen, "It is the moon."))
    app = App()
    app.add(Configured(Agent(MODELS["chat"], name="a"), stream=stream))
    await ground.begin(app)
    run = await ground.start("a", "Why are there tides?")
    assert await ground.result(run) == "It is the moon."
    assert seen[0].stream is stream
    assert (await tokens(ground, run) > 0) is stream


async def test_a_model_that_cannot_stream(ground: Ground) -> None:
    def model(messages: list[Any], info: AgentInfo) -> Any:
        from pydantic_ai import ModelResponse, TextPart

        return ModelResponse([TextPart("made up")])

    app = App()
    app.add(Agent(FunctionModel(model), name="a"))
    await ground.begin(app)
    assert await ground.result(await ground.start("a", "Go.")) == "made up"


async def test_the_agents_own_handler_sees_everything(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    seen: list[Any] = []

    async def handler(ctx: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
        async for event in events:
            seen.append(event)

    class Handled(WrapperAgent[object, str]):
        @property
        def event_stream_handler(self) -> Any:
            return handler

    agent = Handled(researcher(tally))
    provide(BOTH, "It is the moon.")
    app = App()
    app.add(agent)
    await ground.begin(app)
    run = await ground.start("researcher", "Why are there tides?")
    assert await ground.result(run) == "It is the moon."
    assert any(isinstance(event, PartDeltaEvent) for event in seen)
    assert sum(isinstance(event, FunctionToolResultEvent) for event in seen) == 2


async def test_custom_events(ground: Ground, provide: Provide, tally: Tally) -> None:
    pydantic_ai = pytest.importorskip("pydantic_ai")
    if not hasattr(pydantic_ai, "CustomEvent"):
        pytest.skip(f"Pydantic AI {pydantic_ai.__version__} has no custom events")
    from dataclasses import dataclass

    @dataclass(kw_only=True)
    class Progress(pydantic_ai.CustomEvent):  # type: ignore[misc, name-defined]
        done: int

    agent = Agent(CLAUDE, name="a")

    @agent.tool
    async def work(ctx: RunContext[object]) -> str:
        """Works."""
        await ctx.emit(Progress(done=1))
        return "ok"

    @agent.tool_plain
    async def last() -> str:
        """Where the worker is lost."""
        await tally.note("last")
        return "ok"

    provide(Reply(tools=[("work", {})]), Reply(tools=[("last", {})]), "Done.")
    app = App()
    app.add(agent)
    tally.hold("last")
    await ground.begin(app)
    run = await ground.start("a", "Go.")
    await tally.reached("last")
    await ground.stop()
    tally.release("last")
    await ground.begin(app)
    await ground.result(run)
    (event,) = await emitted(ground, run, "custom")
    assert event["done"] == 1
    assert event["name"] == "progress"


async def in_run(agent: Agent[object, str], prompt: str) -> str:
    return (await agent.run(prompt)).output


async def in_iter(agent: Agent[object, str], prompt: str) -> str:
    async with agent.iter(prompt) as run:
        async for _ in run:
            pass
    assert run.result is not None
    return run.result.output


async def in_stream(agent: Agent[object, str], prompt: str) -> str:
    async with agent.run_stream(prompt) as result:
        async for _ in result.stream_text(delta=True):
            pass
        return await result.get_output()


async def in_events(agent: Agent[object, str], prompt: str) -> str:
    output = ""
    async with agent.run_stream_events(prompt) as events:
        async for event in events:
            if isinstance(event, AgentRunResultEvent):
                output = event.result.output
    return output


FORMS = {"run": in_run, "iter": in_iter, "run_stream": in_stream, "events": in_events}


@pytest.mark.parametrize("held", ["search", "fetch"])
@pytest.mark.parametrize("form", [*FORMS, "sync"])
async def test_functions_that_run_agents(
    ground: Ground, provide: Provide, tally: Tally, form: str, held: str
) -> None:
    # For ``run_stream`` a text beside tool calls is the answer.
    sim = provide(replace(BOTH, text="") if form == "run_stream" else BOTH, "It is the moon.")
    agent = researcher(tally)
    if form == "sync":

        def ask(prompt: str) -> str:
            return agent.run_sync(prompt).output
    else:

        async def ask(prompt: str) -> str:  # type: ignore[misc]
            return await FORMS[form](agent, prompt)

    app = App()
    app.add(ask)
    tally.hold(held)
    await ground.begin(app)
    run = await ground.start("ask", "Why are there tides?")
    await tally.reached(held)
    other = {"search": "fetch", "fetch": "search"}[held]
    await ground.recorded(run, other)
    await ground.stop()
    tally.release(held)
    await ground.begin(app)
    assert await ground.result(run) == "It is the moon."
    assert tally.count(other) == 1
    assert tally.count(held) == 2
    assert not sim.counts().repeated
    assert {e.name for e in await tool_entries(ground, run)} == {"search", "fetch"}


@pytest.mark.parametrize("form", [*FORMS, "sync"])
async def test_functions_that_run_agents_are_drained(
    ground: Ground, provide: Provide, tally: Tally, form: str
) -> None:
    # For ``run_stream`` a text beside tool calls is the answer.
    sim = provide(replace(BOTH, text="") if form == "run_stream" else BOTH, "It is the moon.")
    agent = researcher(tally)
    if form == "sync":

        def ask(prompt: str) -> str:
            return agent.run_sync(prompt).output
    else:

        async def ask(prompt: str) -> str:  # type: ignore[misc]
            return await FORMS[form](agent, prompt)

    app = App()
    app.add(ask)
    tally.hold("search")
    worker = await ground.begin(app)
    run = await ground.start("ask", "Why are there tides?")
    await tally.reached("search")
    draining = await ground.drain(worker)
    tally.release("search")
    await draining
    assert (await ground.store.get(run)).state == "queued"
    await ground.begin(app)
    assert await ground.result(run) == "It is the moon."
    assert sorted(tally.done) == ["fetch", "search"]
    assert not sim.counts().repeated


async def test_outside_a_run_nothing_changes(provide: Provide, tally: Tally) -> None:
    provide(BOTH, "It is the moon.")
    app = App()
    agent = researcher(tally)
    app.add(agent)
    async with agent:  # closes its client, which is its own outside runs
        assert (await agent.run("Why are there tides?")).output == "It is the moon."
    assert sorted(tally.done) == ["fetch", "search"]
