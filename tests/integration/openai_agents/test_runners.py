"""Functions that call ``Runner`` themselves, in each of its forms; parking in the middle of tools;
guardrails beside the model call."""

from __future__ import annotations

import asyncio
from typing import Any

import agents
import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    RunContextWrapper,
    Runner,
    function_tool,
    input_guardrail,
    output_guardrail,
)

import perdure
from perdure.app import App
from perdure.core.record import EntryState, Kind
from perdure.testing.simulator import Call, Reply
from tests.integration.openai_agents.conftest import SOON, Provide, Tally, noting
from tests.integration.stage import tool_entries
from tests.running import Ground


@pytest.mark.parametrize("form", ["run", "run_streamed", "run_sync"])
async def test_every_form_of_the_runner_in_a_plain_function(
    ground: Ground, provide: Provide, tally: Tally, form: str
) -> None:
    @function_tool
    async def look(what: str) -> str:
        """Looks something up."""
        await tally.note(f"look {what}")
        return f"seen {what}"

    @function_tool
    def write(text: str) -> str:
        """Writes something down."""
        tally.note_sync("write")
        return f"written {text}"

    worker = Agent(name="worker", tools=[look, write], model="gpt-5")
    provider = provide(
        Reply(tools=[("look", {"what": "a"}), ("look", {"what": "b"})]),
        Reply(tools=[("write", {"text": "x"})]),
        "done",
    )
    app = App()

    if form == "run":

        @app.agent(name="plain")
        async def plain(text: str) -> Any:
            return (await Runner.run(worker, text)).final_output

    elif form == "run_streamed":

        @app.agent(name="plain")
        async def plain_streamed(text: str) -> Any:
            result = Runner.run_streamed(worker, text)
            async for _ in result.stream_events():
                pass
            return result.final_output

    else:

        @app.agent(name="plain")
        def plain_sync(text: str) -> Any:
            return Runner.run_sync(worker, text).final_output

    tally.hold("write")
    await ground.begin(app)
    run = await ground.start("plain", "go")
    await tally.reached("write")
    stopping = asyncio.ensure_future(ground.stop())
    tally.release("write")
    await stopping
    await ground.begin(app)
    assert await ground.result(run) == "done"
    assert (tally.count("look a"), tally.count("look b")) == (1, 1)
    assert not provider.counts().repeated


@pytest.mark.parametrize("form", ["run", "run_streamed", "run_sync"])
async def test_a_run_that_parks_in_a_tool_is_no_failure_of_the_tool(
    ground: Ground, provide: Provide, tally: Tally, form: str
) -> None:
    """Rule C2: the SDK makes a message of a tool that is cancelled and goes on to the model."""
    ended: list[Any] = []

    @function_tool
    async def rest() -> str:
        """Rests long."""
        tally.done.append("rest")
        answer = await perdure.wait_for("wake")
        return f"awake: {answer}"

    @function_tool
    async def quick() -> str:
        """Is done at once."""
        tally.done.append("quick")
        return "quick"

    class Hooks(agents.RunHooks[Any]):
        async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: Any) -> None:
            ended.append((tool.name, result))

    worker = Agent(name="worker", tools=[rest, quick], model="gpt-5")
    calls: list[Call] = []
    provider = provide(noting(calls, Reply(tools=[("rest", {}), ("quick", {})]), "done"))
    app = App()
    if form == "run_sync":

        @app.agent(name="plain", park_after=0)
        def plain_sync(text: str) -> Any:
            return Runner.run_sync(worker, text, hooks=Hooks()).final_output

    else:

        @app.agent(name="plain", park_after=0)
        async def plain(text: str) -> Any:
            if form == "run":
                return (await Runner.run(worker, text, hooks=Hooks())).final_output
            result = Runner.run_streamed(worker, text, hooks=Hooks())
            async for _ in result.stream_events():
                pass
            return result.final_output

    await ground.begin(app)
    run = await ground.start("plain", "go")
    await ground.until(run, "waiting")
    assert [name for name, _ in ended] == ["quick"]
    await ground.store.signal(run, "wake", b'"now"')
    assert await ground.result(run) == "done"
    assert [(n, r) for n, r in ended if n == "rest"] == [("rest", "awake: now")]
    assert tally.count("quick") == 1
    assert len(calls) == 2
    results = {r.content for r in calls[1].results}
    assert results == {"awake: now", "quick"}
    assert not provider.counts().repeated


async def test_a_cancelled_run_tells_the_model_nothing(ground: Ground, provide: Provide) -> None:
    @function_tool
    async def slow() -> str:
        """Takes long."""
        begun.set()
        await asyncio.Event().wait()
        return "never"

    begun = asyncio.Event()
    calls: list[Call] = []
    provide(noting(calls, Reply(tools=[("slow", {})]), "must not be asked"))
    app = App()
    app.add(Agent(name="worker", tools=[slow], model="gpt-5"))
    await ground.begin(app)
    run = await ground.start("worker", "go")
    async with asyncio.timeout(10):
        await begun.wait()
    await ground.store.cancel(run)
    final = await ground.until(run)
    assert final.state == "cancelled"
    assert len(calls) == 1


async def test_a_tool_over_its_time_is_told_and_the_same_at_a_replay(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    @function_tool(timeout=0.05)
    async def slow() -> str:
        """Takes long."""
        tally.done.append("slow")
        await asyncio.Event().wait()
        return "never"

    @function_tool
    async def hold() -> str:
        """Stands still."""
        await tally.note("hold")
        return "ok"

    calls: list[Call] = []
    provider = provide(
        noting(calls, Reply(tools=[("slow", {})]), Reply(tools=[("hold", {})]), "done")
    )
    app = App()
    app.add(Agent(name="worker", tools=[slow, hold], model="gpt-5"))
    tally.hold("hold")
    await ground.begin(app)
    run = await ground.start("worker", "go")
    await tally.reached("hold")
    await ground.stop()
    tally.release("hold")
    await ground.begin(app)
    assert await ground.result(run) == "done"
    assert tally.count("slow") == 1
    assert "timed out" in calls[1].results[0].content
    states = {e.name: e.state for e in await tool_entries(ground, run)}
    assert states["slow"] == EntryState.ABANDONED
    assert not provider.counts().repeated


async def test_guardrails_run_beside_the_model_and_keep_their_places(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    """The documentation's own example: a guardrail that is an agent."""
    judge = Agent(name="judge", instructions="Is it homework?", model="gpt-5-mini")

    @input_guardrail
    async def homework(
        context: RunContextWrapper[None], agent: Agent[Any], input: Any
    ) -> GuardrailFunctionOutput:
        result = await Runner.run(judge, input, context=context.context)
        return GuardrailFunctionOutput(result.final_output, result.final_output == "yes")

    @output_guardrail
    async def polite(
        context: RunContextWrapper[None], agent: Agent[Any], output: Any
    ) -> GuardrailFunctionOutput:
        result = await Runner.run(judge, f"polite? {output}")
        return GuardrailFunctionOutput(result.final_output, False)

    @function_tool
    async def hold() -> str:
        """Stands still."""
        await tally.note("hold")
        return "ok"

    def brain(call: Call) -> Reply:
        if "homework?" in call.system:
            return Reply("no")
        return Reply(tools=[("hold", {})]) if call.turn == 0 else Reply("good day")

    provider = provide(brain)
    app = App()
    app.add(
        Agent(
            name="tutor",
            tools=[hold],
            input_guardrails=[homework],
            output_guardrails=[polite],
            model="gpt-5",
        )
    )
    tally.hold("hold")
    await ground.begin(app)
    run = await ground.start("tutor", "hello")
    await tally.reached("hold")
    await ground.stop()
    tally.release("hold")
    await ground.begin(app)
    assert await ground.result(run) == "good day"
    assert not provider.counts().repeated
    assert set(await ground.warnings(run)) <= {"rerun"}
    models = [e for e in await ground.store.journal(run) if e.kind == Kind.MODEL]
    assert [e.name for e in models if "guardrail.homework" in e.branch] == ["openai/gpt-5-mini"]
    assert [e.name for e in models if "guardrail.polite" in e.branch] == ["openai/gpt-5-mini"]


@pytest.mark.parametrize("where", ["input", "output"])
async def test_a_tripwire_is_the_runs_last_word(
    ground: Ground, provide: Provide, where: str
) -> None:
    @input_guardrail
    async def never_in(context: Any, agent: Agent[Any], input: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput("no", True)

    @output_guardrail
    async def never_out(context: Any, agent: Agent[Any], output: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput("no", True)

    provide("hello")
    app = App()
    guards: dict[str, Any] = (
        {"input_guardrails": [never_in]} if where == "input" else {"output_guardrails": [never_out]}
    )
    app.add(Agent(name="shy", model="gpt-5", **guards), retry=SOON)
    await ground.begin(app)
    run = await ground.start("shy", "hello")
    final = await ground.until(run)
    assert final.state == "failed"
    assert "GuardrailTripwireTriggered" in str(final.error)
    assert final.attempts <= 1
