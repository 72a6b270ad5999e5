"""Agents of the OpenAI Agents SDK are served as they are: input, output, tools, events, crashes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import agents
import pytest
from agents import Agent, RunConfig, Runner, function_tool
from pydantic import BaseModel

import perdure
from perdure.app import App
from perdure.core.record import EntryState, Kind, RecordType
from perdure.errors import ConfigError, InvalidInput
from perdure.frameworks.openai_agents import Configured, uninstall
from perdure.testing.simulator import Call, Reply
from tests.integration.openai_agents.conftest import SOON, Provide, Tally, noting
from tests.integration.stage import emitted, tool_entries
from tests.running import Ground


@dataclass
class Point:
    x: int
    y: int


async def test_a_message_in_and_the_final_output_out(ground: Ground, provide: Provide) -> None:
    provider = provide("It is sunny.")
    app = App()
    app.add(Agent(name="weather", instructions="You are brief.", model="gpt-5"))
    await ground.begin(app)
    run = await ground.start("weather", "How is it?")
    assert await ground.result(run) == "It is sunny."
    (entry,) = [e for e in await ground.store.journal(run) if e.kind == Kind.MODEL]
    assert entry.name == "openai/gpt-5"
    deltas = [e for e in await ground.events(run) if e.type == RecordType.DELTA]
    assert deltas, "the model is asked for a stream, so that who watches sees tokens"
    assert provider.counts().answered == 1


async def test_a_conversation_in_and_a_typed_output_out(ground: Ground, provide: Provide) -> None:
    class Plan(BaseModel):
        city: str
        days: int

    calls: list[Call] = []
    provide(noting(calls, "unused", '{"city": "Rome", "days": 3}'))
    app = App()
    app.add(Agent(name="planner", output_type=Plan, model="gpt-5"))
    await ground.begin(app)
    so_far = [
        {"role": "user", "content": "I want to travel."},
        {"role": "assistant", "content": "Where to?"},
        {"role": "user", "content": "Rome."},
    ]
    run = await ground.start("planner", so_far)
    assert await ground.result(run) == {"city": "Rome", "days": 3}
    assert [m.text for m in calls[0].messages if m.role == "user"][-1] == "Rome."
    assert calls[0].turn == 1


def test_what_it_cannot_take_is_refused_before_a_run_is_made() -> None:
    app = App()
    app.add(Agent(name="weather"))
    agent = app.agents["weather"]
    with pytest.raises(InvalidInput):
        agent.validate(b"42")
    with pytest.raises(InvalidInput):
        agent.validate(b"[]")
    agent.validate(b'"hello"')


@pytest.mark.parametrize("stream", [True, False])
async def test_tools_are_effects_and_are_not_repeated(
    ground: Ground, provide: Provide, tally: Tally, stream: bool
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

    provider = provide(
        Reply(tools=[("look", {"what": "a"}), ("look", {"what": "b"})]),
        Reply(tools=[("write", {"text": "x"})]),
        "done",
    )
    app = App()
    agent = Agent(name="worker", tools=[look, write], model="gpt-5")
    app.add(Configured(agent, stream=stream))
    tally.hold("write")
    await ground.begin(app)
    run = await ground.start("worker", "go")
    await tally.reached("write")
    await ground.stop()
    tally.release("write")
    await ground.begin(app)
    assert await ground.result(run) == "done"
    assert (tally.count("look a"), tally.count("look b")) == (1, 1)
    entries = await tool_entries(ground, run)
    assert [(e.name, e.state) for e in entries] == [
        ("look", EntryState.DONE), ("look", EntryState.DONE), ("write", EntryState.DONE),
    ]  # fmt: skip
    assert not provider.counts().repeated
    assert agent.tools == [look, write]


async def test_each_tool_call_has_a_branch_named_by_its_id(
    ground: Ground, provide: Provide
) -> None:
    @function_tool
    async def look(what: str) -> str:
        """Looks something up."""
        return what

    provide(Reply(tools=[("look", {"what": "a"}), ("look", {"what": "a"})]), "done")
    app = App()
    app.add(Agent(name="worker", tools=[look], model="gpt-5"))
    await ground.begin(app)
    run = await ground.start("worker", "go")
    await ground.result(run)
    branches = [e.branch for e in await tool_entries(ground, run)]
    assert len(set(branches)) == 2
    assert all("call_" in branch for branch in branches), branches


async def test_an_agent_as_a_tool_is_a_scope_of_its_own(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    @function_tool
    async def dig(where: str) -> str:
        """Digs."""
        await tally.note("dig")
        return "gold"

    @function_tool
    async def sell(what: str) -> str:
        """Sells."""
        await tally.note("sell")
        return "sold"

    digger = Agent(name="digger", instructions="You dig.", tools=[dig], model="gpt-5-mini")

    def brain(call: Any) -> Reply:
        names = {tool.name for tool in call.tools}
        if "dig" in names:
            return Reply(tools=[("dig", {"where": "here"})]) if call.turn == 0 else Reply("gold!")
        if call.turn == 0:
            return Reply(tools=[("ask_digger", {"input": "dig please"})])
        return Reply(tools=[("sell", {"what": "gold"})]) if call.turn == 1 else Reply("rich")

    provider = provide(brain)
    app = App()
    tool = digger.as_tool("ask_digger", "Digs for you")
    app.add(Agent(name="boss", tools=[tool, sell], model="gpt-5"))
    tally.hold("sell")
    await ground.begin(app)
    run = await ground.start("boss", "go")
    await tally.reached("sell")
    await ground.stop()
    tally.release("sell")
    await ground.begin(app)
    assert await ground.result(run) == "rich"
    assert tally.count("dig") == 1
    journal = await ground.store.journal(run)
    (outer,) = [e for e in journal if e.name == "ask_digger"]
    inside = [e for e in journal if e.scope == outer.key]
    assert [e.name for e in inside if e.kind in (Kind.MODEL, Kind.TOOL)] == [
        "openai/gpt-5-mini", "dig", "openai/gpt-5-mini",
    ]  # fmt: skip
    assert not provider.counts().repeated


async def test_a_handoff_is_an_event(ground: Ground, provide: Provide, tally: Tally) -> None:
    heard: list[str] = []

    class Hooks(agents.RunHooks[Any]):
        async def on_handoff(self, context: Any, from_agent: Any, to_agent: Any) -> None:
            heard.append(to_agent.name)

    spanish = Agent(name="Spanish", instructions="You speak Spanish.", model="gpt-5-mini")
    triage = Agent(name="triage", handoffs=[spanish], model="gpt-5")

    def brain(call: Any) -> Reply:
        return Reply(tools=[("transfer_to_spanish", {})]) if call.tools else Reply("¡Hola!")

    provide(brain)
    app = App()
    app.add(triage)

    @app.agent
    async def plain(text: str) -> Any:
        result = await Runner.run(triage, text, hooks=Hooks())
        return result.final_output

    await ground.begin(app)
    for name in ("triage", "plain"):
        run = await ground.start(name, "Hola")
        assert await ground.result(run) == "¡Hola!"
        assert await emitted(ground, run, "agent") == [{"from": "triage", "to": "Spanish"}]
        said = await emitted(ground, run, "state")
        assert [event["name"] for event in said] == ["triage", "Spanish"]
        assert said[0]["update"][0]["type"] == "function_call"
    assert heard == ["Spanish"]


async def test_promises_are_declared_without_touching_the_agent(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    asked: list[dict[str, Any]] = []

    @function_tool
    async def pay(amount: int) -> str:
        """Pays."""
        await tally.note("pay")
        return f"paid {amount}"

    def reconcile(**arguments: Any) -> str:
        asked.append(arguments)
        return "paid before"

    provide(Reply(tools=[("pay", {"amount": 3})]), "done")
    app = App()
    app.add(
        Agent(name="payer", tools=[pay], model="gpt-5"),
        tools={"pay": perdure.once(reconcile=reconcile, timeout=timedelta(seconds=0.05))},
    )
    tally.hold("pay")
    await ground.begin(app)
    run = await ground.start("payer", "go")
    await tally.reached("pay")
    await ground.stop()
    tally.release("pay")
    ground.store.shift_clock(timedelta(seconds=10))
    await ground.begin(app)
    assert await ground.result(run) == "done"
    assert tally.count("pay") == 1
    assert asked == [{"amount": 3}]


async def test_promises_for_the_tools_of_a_function_that_calls_the_runner(
    ground: Ground, provide: Provide
) -> None:
    @function_tool
    async def pay(amount: int) -> str:
        """Pays."""
        return f"paid {amount}"

    payer = Agent(name="payer", tools=[pay], model="gpt-5")
    provide(Reply(tools=[("pay", {"amount": 3})]), "done")

    async def desk(text: str) -> Any:
        return (await Runner.run(payer, text)).final_output

    app = App()
    app.add(desk, tools={"pay": "idempotent"})
    await ground.begin(app)
    run = await ground.start("desk", "go")
    assert await ground.result(run) == "done"
    assert [str(e.promise) for e in await tool_entries(ground, run)] == ["idempotent"]


async def test_bad_arguments_for_a_once_tool_are_no_uncertain_payment(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    @function_tool
    async def pay(amount: int) -> str:
        """Pays."""
        await tally.note("pay")
        return f"paid {amount}"

    calls: list[Call] = []
    provide(
        noting(
            calls,
            Reply(tools=[("pay", {"amount": "much"})]),
            Reply(tools=[("pay", {"amount": 3})]),
            "done",
        )
    )
    app = App()
    app.add(Agent(name="payer", tools=[pay], model="gpt-5"), tools={"pay": "once"})
    await ground.begin(app)
    run = await ground.start("payer", "go")
    assert await ground.result(run) == "done"
    assert tally.count("pay") == 1
    (result,) = calls[1].results
    assert "An error occurred" in result.content


def test_a_promise_for_a_tool_that_no_agent_has_is_an_error() -> None:
    @function_tool
    def pay() -> str:
        """Pays."""
        return "paid"

    app = App()
    boss = Agent(name="boss", handoffs=[Agent(name="payer", tools=[pay])])
    with pytest.raises(ConfigError, match="refund"):
        app.add(boss, tools={"refund": "once"})
    app.add(boss, tools={"pay": "once"})


async def test_a_failed_tool_is_told_to_the_model_and_told_again_at_a_replay(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    @function_tool
    async def flaky(n: int) -> str:
        """Fails."""
        await tally.note(f"flaky {n}")
        if n == 1:
            raise ConnectionError("no line")
        return "fine"

    calls: list[Call] = []
    provider = provide(
        noting(
            calls, Reply(tools=[("flaky", {"n": 1})]), Reply(tools=[("flaky", {"n": 2})]), "done"
        )
    )
    app = App()
    app.add(Agent(name="caller", tools=[flaky], model="gpt-5"))
    tally.hold("flaky 2")
    await ground.begin(app)
    run = await ground.start("caller", "go")
    await tally.reached("flaky 2")
    await ground.stop()
    tally.release("flaky 2")
    await ground.begin(app)
    assert await ground.result(run) == "done"
    assert tally.count("flaky 1") == 1
    assert "An error occurred" in calls[1].results[0].content
    assert not provider.counts().repeated


async def test_a_tool_whose_failure_ends_the_run_is_tried_again(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    @function_tool(failure_error_function=None)
    async def flaky() -> str:
        """Fails once."""
        await tally.note("flaky")
        if tally.count("flaky") == 1:
            raise ConnectionError("no line")
        return "fine"

    provider = provide(Reply(tools=[("flaky", {})]), "done")
    app = App()
    app.add(
        Agent(name="caller", tools=[flaky], model="gpt-5"),
        retry=SOON,
    )
    await ground.begin(app)
    run = await ground.start("caller", "go")
    assert await ground.result(run) == "done"
    assert tally.count("flaky") == 2
    assert not provider.counts().repeated


async def test_a_tool_that_is_an_effect_already_is_one_effect(
    ground: Ground, provide: Provide
) -> None:
    @function_tool
    @perdure.tool(effect="reads")
    async def look(what: str) -> str:
        """Looks."""
        return what

    @function_tool
    @perdure.tool(effect="idempotent")
    def write(text: str) -> str:
        """Writes."""
        return text

    provide(Reply(tools=[("look", {"what": "a"}), ("write", {"text": "b"})]), "done")
    app = App()
    app.add(Agent(name="worker", tools=[look, write], model="gpt-5"))
    await ground.begin(app)
    run = await ground.start("worker", "go")
    assert await ground.result(run) == "done"
    found = {e.name.rpartition(".")[2]: e.promise for e in await tool_entries(ground, run)}
    assert found == {"look": "reads", "write": "idempotent"}


async def test_what_tools_return_comes_back_as_it_was(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    returned: list[Any] = []

    @function_tool
    async def point() -> Point:
        """A point."""
        await tally.note("point")
        return Point(1, 2)

    @function_tool
    async def image() -> Any:
        """An image."""
        return agents.ToolOutputImage(image_url="data:image/png;base64,AA==")

    @function_tool
    async def pair() -> tuple[int, str]:
        """A pair."""
        return (1, "a")

    @function_tool
    async def wait() -> str:
        """Waits."""
        await tally.note("wait")
        return "ok"

    class Hooks(agents.RunHooks[Any]):
        async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: Any) -> None:
            returned.append(result)

    provide(
        Reply(tools=[("point", {})]),
        Reply(tools=[("image", {})]),
        Reply(tools=[("pair", {})]),
        Reply(tools=[("wait", {})]),
        "done",
    )
    app = App()
    worker = Agent(name="worker", tools=[point, image, pair, wait], model="gpt-5")

    @app.agent
    async def plain(text: str) -> Any:
        return (await Runner.run(worker, text, hooks=Hooks())).final_output

    tally.hold("wait")
    await ground.begin(app)
    run = await ground.start("plain", "go")
    await tally.reached("wait")
    await ground.stop()
    tally.release("wait")
    await ground.begin(app)
    assert await ground.result(run) == "done"
    assert tally.count("point") == 1
    image_out = agents.ToolOutputImage(image_url="data:image/png;base64,AA==")
    # Versions that do not tell a tool's function: what the model is told of the object.
    told = Point(1, 2) if "__wrapped__" in vars(agents.FunctionTool) else str(Point(1, 2))
    assert returned[:3] == [told, image_out, (1, "a")]
    assert returned[3:6] == returned[:3]


async def test_configured_as_runner_run_takes_it(ground: Ground, provide: Provide) -> None:
    seen: list[Any] = []

    @function_tool
    async def who(ctx: agents.RunContextWrapper[dict[str, str]]) -> str:
        """Who asks."""
        seen.append(ctx.context)
        return ctx.context["user"]

    provide(Reply(tools=[("who", {})]), Reply(tools=[("who", {})]), "never")
    app = App()
    app.add(
        Configured(
            Agent(name="worker", tools=[who], model="gpt-5"),
            max_turns=2,
            context=lambda value: {"user": value},
            run_config=RunConfig(workflow_name="mine"),
        )
    )
    await ground.begin(app)
    run = await ground.start("worker", "Ann")
    final = await ground.until(run)
    assert final.state == "failed", "it would run out of turns at every attempt"
    assert "Max turns" in str(final.error)
    assert seen == [{"user": "Ann"}, {"user": "Ann"}]


async def test_the_patch_comes_out(ground: Ground, provide: Provide) -> None:
    @function_tool
    async def look() -> str:
        """Looks."""
        return "seen"

    provide(Reply(tools=[("look", {})]), "done")
    app = App()
    app.add(Agent(name="worker", tools=[look], model="gpt-5"))
    uninstall()
    await ground.begin(app)
    run = await ground.start("worker", "go")
    assert await ground.result(run) == "done"
    assert await tool_entries(ground, run) == []
