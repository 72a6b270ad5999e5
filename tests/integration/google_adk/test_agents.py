"""Agents as they are: function tools, parallel tools, sub-agents, agent tools, workflow agents."""

from __future__ import annotations

from typing import Any

import pytest
from google.adk.agents import LlmAgent, LoopAgent, ParallelAgent, SequentialAgent
from google.adk.apps import App as AdkApp
from google.adk.runners import InMemoryRunner
from google.adk.tools.agent_tool import AgentTool
from google.adk.tools.exit_loop_tool import exit_loop
from google.adk.tools.tool_context import ToolContext
from pydantic import BaseModel

from perdure.app import App
from perdure.core.record import EntryState, Kind
from perdure.errors import ConfigError, InvalidInput, TargetError
from perdure.frameworks.google_adk.patch import install, installed, uninstall
from perdure.testing.simulator import Call, Reply
from perdure.testing.simulator.faults import Fault
from tests.integration.google_adk.conftest import GEMINI
from tests.integration.stage import Provide, Tally, emitted, tool_entries
from tests.running import Ground

# ADK and google-genai warn of what they do themselves.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def weather(tally: Tally) -> Any:
    async def get_weather(city: str) -> dict[str, str]:
        """Retrieves the current weather report for a specified city."""
        await tally.note(f"weather {city}")
        return {"status": "success", "report": f"The weather in {city} is sunny."}

    return get_weather


async def test_parallel_tools_survive_the_loss_of_their_worker(
    ground: Ground, tally: Tally, provide: Provide
) -> None:
    provider = provide(
        Reply("I look.", tools=[("get_weather", {"city": c}) for c in ("Porto", "Faro")]),
        "Sunny in both.",
    )
    app = App()
    app.add(
        LlmAgent(model=GEMINI, name="weather_agent", tools=[weather(tally)]),
        tools={"get_weather": "reads"},
    )
    tally.hold("weather Faro")
    await ground.begin(app)
    run = await ground.start("weather_agent", "How is the weather in Porto and Faro?")
    await tally.reached("weather Faro")
    await ground.tools_done(run, 1)
    await ground.stop()
    tally.release("weather Faro")
    await ground.begin(app)
    result = await ground.result(run)
    assert result["output"] == "Sunny in both."
    assert tally.count("weather Porto") == 1
    assert provider.counts().answered == 2
    entries = await tool_entries(ground, run)
    assert {e.state for e in entries} == {EntryState.DONE}
    assert len({e.branch for e in entries}) == 2
    assert await ground.warnings(run) == []


async def test_tokens_come_as_they_are_said(ground: Ground, provide: Provide) -> None:
    provide(Reply("One two three four five six.", chunk=4))
    app = App()
    app.add(LlmAgent(model=GEMINI, name="talker"))
    await ground.begin(app)
    run = await ground.start("talker", {"parts": [{"text": "Count."}]})
    result = await ground.result(run)
    assert result["output"] == "One two three four five six."
    assert result["events"][-1]["content"]["parts"][0]["text"] == result["output"]
    deltas = [e for e in await ground.events(run) if e.type == "delta" and e.kind == Kind.MODEL]
    assert deltas


async def test_what_a_tool_says_beside_its_result_comes_back(
    ground: Ground, tally: Tally, provide: Provide
) -> None:
    def remember(what: str, tool_context: ToolContext) -> str:
        """Remember it."""
        tally.done.append("remember")
        tool_context.state["noted"] = {"what": what}
        return "noted"

    async def recall(n: int, tool_context: ToolContext) -> str:
        """What was remembered."""
        await tally.note("recall")
        return str(tool_context.state["noted"]["what"])

    provider = provide(
        Reply(tools=[("remember", {"what": "tides"})]), Reply(tools=[("recall", {"n": 1})]), "Done."
    )
    app = App()
    app.add(LlmAgent(model=GEMINI, name="memo", tools=[remember, recall]))
    tally.hold("recall")
    await ground.begin(app)
    run = await ground.start("memo", "Go.")
    await tally.reached("recall")
    await ground.stop()
    tally.release("recall")
    await ground.begin(app)
    result = await ground.result(run)
    assert tally.count("remember") == 1
    assert result["state"] == {"noted": {"what": "tides"}}
    assert provider.counts().answered == 3
    (state,) = await emitted(ground, run, "state")
    assert state == {"name": "memo", "path": "memo", "update": {"noted": {"what": "tides"}}}


async def test_a_transfer_to_a_sub_agent(ground: Ground, tally: Tally, provide: Provide) -> None:
    def brain(call: Call) -> Reply:
        if "coordinator" in call.system:
            return Reply(tools=[("transfer_to_agent", {"agent_name": "greeter"})])
        if call.messages[-1].role == "tool" and "sunny" in str(call.messages[-1]):
            return Reply("Hello, it is sunny.")
        return Reply(tools=[("get_weather", {"city": "Faro"})])

    provider = provide(brain)
    greeter = LlmAgent(model=GEMINI, name="greeter", description="Greets.",
                       instruction="You greet.", tools=[weather(tally)])  # fmt: skip
    root = LlmAgent(
        model=GEMINI, name="root", instruction="You are the coordinator.", sub_agents=[greeter]
    )
    app = App()
    app.add(root)
    tally.hold("weather Faro")
    await ground.begin(app)
    run = await ground.start("root", "Hello.")
    await tally.reached("weather Faro")
    await ground.stop()
    tally.release("weather Faro")
    await ground.begin(app)
    assert (await ground.result(run))["output"] == "Hello, it is sunny."
    assert provider.counts().answered == 3
    assert await emitted(ground, run, "agent") == [{"from": "root", "to": "greeter"}]
    assert [e.name for e in await tool_entries(ground, run)] == ["get_weather"]


async def test_an_agent_as_a_tool_is_replayed_from_within(
    ground: Ground, tally: Tally, provide: Provide
) -> None:
    def brain(call: Call) -> Reply:
        if "outer" in call.system:
            if call.messages[-1].role != "tool":
                return Reply(tools=[("researcher", {"request": "tides"})])
            return Reply("Outer done.")
        if call.messages[-1].role != "tool":
            return Reply(tools=[("get_weather", {"city": "Faro"})])
        return Reply("Inner done.")

    provider = provide(brain)
    inner = LlmAgent(model=GEMINI, name="researcher", instruction="inner", tools=[weather(tally)])
    outer = LlmAgent(model=GEMINI, name="lead", instruction="outer", tools=[AgentTool(agent=inner)])
    app = App()
    app.add(outer, tools={"get_weather": "reads"})
    tally.hold("weather Faro")
    await ground.begin(app)
    run = await ground.start("lead", "Go.")
    await tally.reached("weather Faro")
    await ground.stop()
    tally.release("weather Faro")
    await ground.begin(app)
    assert (await ground.result(run))["output"] == "Outer done."
    assert provider.counts().answered == 4
    by_name = {e.name: e for e in await tool_entries(ground, run)}
    assert by_name["get_weather"].scope == by_name["researcher"].key


ROLES = ("legal", "market", "research")


async def test_agents_at_once_and_then_one(ground: Ground, tally: Tally, provide: Provide) -> None:
    """The documentation's parallel research with a merger: the merger is asked the same again."""
    prompts: list[str] = []

    def brain(call: Call) -> Reply:
        role = next((r for r in ROLES if f"You are {r}" in call.system), None)
        if role is None:
            prompts.append(str([m.parts for m in call.messages]))
            return Reply("All agree.")
        if call.messages[-1].role != "tool":
            return Reply(tools=[("get_weather", {"city": role})])
        # The one that is named first ends last.
        return Reply(f"{role} says yes", delay={"legal": 0.3, "market": 0.15}.get(role, 0))

    provider = provide(brain)
    panel = ParallelAgent(
        name="panel",
        sub_agents=[
            LlmAgent(
                model=GEMINI,
                name=role,
                instruction=f"You are {role}.",
                tools=[weather(tally)],
                output_key=role,
            )
            for role in ROLES
        ],
    )
    merger = LlmAgent(model=GEMINI, name="merger", instruction="Merge.", tools=[weather(tally)])
    app = App()
    app.add(
        SequentialAgent(name="pipeline", sub_agents=[panel, merger]),
        tools={"get_weather": "reads"},
    )
    tally.hold("weather market")
    await ground.begin(app)
    run = await ground.start("pipeline", "Shall we?")
    await tally.reached("weather market")
    await ground.models_done(run, 5)  # all but market's last, and the merger
    await ground.stop()
    tally.release("weather market")
    await ground.begin(app)
    result = await ground.result(run)
    assert result["output"] == "All agree."
    assert result["state"] == {role: f"{role} says yes" for role in ROLES}
    assert provider.counts().answered == 7
    assert tally.count("weather legal") == tally.count("weather research") == 1
    assert await ground.warnings(run) == []
    # The merger reads the branches in the order of their names, not in that of their ends.
    (prompt,) = prompts
    places = [prompt.index(f"{role} says yes") for role in ROLES]
    assert places == sorted(places)


async def test_a_loop_that_is_left(ground: Ground, tally: Tally, provide: Provide) -> None:
    rounds: list[str] = []

    def brain(call: Call) -> Reply:
        if "critic" in call.system:
            rounds.append("critic")
            if len(rounds) == 2:
                return Reply(tools=[("exit_loop", {})])
            return Reply("More.")
        return Reply("A draft.")

    provide(brain)
    app = App()
    app.add(
        LoopAgent(
            name="refine",
            max_iterations=5,
            sub_agents=[
                LlmAgent(model=GEMINI, name="writer", instruction="You write."),
                LlmAgent(model=GEMINI, name="critic", instruction="critic", tools=[exit_loop]),
            ],
        )
    )
    await ground.begin(app)
    run = await ground.start("refine", "Write.")
    result = await ground.result(run)
    assert [e["author"] for e in result["events"]][:3] == ["writer", "critic", "writer"]
    assert len(rounds) == 2
    assert await tool_entries(ground, run) == []


class Capital(BaseModel):
    capital: str


async def test_apps_runners_and_sessions_that_go_on(ground: Ground, provide: Provide) -> None:
    heard: list[list[str]] = []

    def brain(call: Call) -> Reply:
        heard.append([m.text for m in call.messages])
        return Reply('{"capital": "Lisbon"}')

    provide(brain)
    agent = LlmAgent(model=GEMINI, name="capital", output_schema=Capital)
    app = App()
    app.add(AdkApp(name="capitals", root_agent=agent), name="by_app")
    runner = InMemoryRunner(agent=LlmAgent(model=GEMINI, name="capital2"), app_name="x")
    app.add(runner, name="by_runner")
    await ground.begin(app)
    for name in ("by_app", "by_runner"):
        heard.clear()
        first = await ground.result(
            await ground.start(name, {"new_message": "Portugal?", "session": None})
        )
        assert first["output"] == '{"capital": "Lisbon"}'
        again = await ground.result(
            await ground.start(name, {"new_message": "Sure?", "session": first["session"]})
        )
        assert heard == [["Portugal?"], ["Portugal?", '{"capital": "Lisbon"}', "Sure?"]]
        assert len(again["events"]) == 1
        assert again["session"]["id"] == first["session"]["id"]
    # What was handed over is as it was.
    assert vars(runner.session_service)["sessions"] == {}


async def test_what_a_provider_refuses_is_not_tried_again(ground: Ground, provide: Provide) -> None:
    provider = provide("Never.")
    provider.set_faults([Fault("400")])
    app = App()
    app.add(LlmAgent(model=GEMINI, name="refused"))
    await ground.begin(app)
    run = await ground.until(await ground.start("refused", "Go."))
    assert run.state == "failed"
    assert provider.counts().started == 1


def test_what_is_no_input_is_refused() -> None:
    app = App()
    app.add(LlmAgent(model=GEMINI, name="strict"))
    agent = app.agents["strict"]
    for bad in (b"null", b"[]", b'{"text": "x"}', b'{"new_message": "a", "more": 1}', b"3"):
        with pytest.raises(InvalidInput):
            agent.validate(bad)
    agent.validate(b'"hello"')
    agent.validate(b'{"new_message": {"parts": [{"text": "hi"}]}, "state_delta": {"a": 1}}')


async def test_what_does_not_fit_is_refused(tally: Tally) -> None:
    app = App()
    agent = LlmAgent(model=GEMINI, name="x", tools=[weather(tally)])
    with pytest.raises(ConfigError, match="no tool 'nothing'"):
        app.add(agent, tools={"nothing": "reads"})
    with pytest.raises(TargetError, match="no agent that runs here"):
        app.add(AgentTool(agent=agent), name="y")


async def test_the_patch_can_be_taken_out() -> None:
    install()
    assert installed()
    uninstall()
    assert not installed()
    install()
