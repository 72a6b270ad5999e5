"""Workflows: executors one after the other and at once, over the loss of their worker."""

from __future__ import annotations

from typing import Any, Never

import pytest
from agent_framework import (
    Agent,
    AgentExecutorResponse,
    Executor,
    WorkflowBuilder,
    WorkflowContext,
    executor,
    handler,
    workflow,
)

from perdure.app import App
from perdure.errors import InvalidInput, TargetError
from perdure.testing.simulator import Call, Reply
from tests.integration.agent_framework.conftest import gpt
from tests.integration.agent_framework.test_agents import weather
from tests.integration.stage import Provide, Tally, emitted, tool_entries
from tests.running import Ground


class Upper(Executor):
    """As the documentation has it."""

    @handler
    async def to_upper_case(self, text: str, ctx: WorkflowContext[str]) -> None:
        """Upper case."""
        await ctx.send_message(text.upper())


@executor(id="reverse_text_executor")
async def reverse_text(text: str, ctx: WorkflowContext[Never, str]) -> None:
    """Backwards."""
    await ctx.yield_output(text[::-1])


async def test_executors_one_after_the_other(ground: Ground) -> None:
    upper = Upper(id="upper_case_executor")
    app = App()
    app.add(
        WorkflowBuilder(start_executor=upper, name="text").add_edge(upper, reverse_text).build()
    )
    await ground.begin(app)
    runs = [await ground.start("text", text) for text in ("hello", "world")]
    assert [await ground.result(run) for run in runs] == [["OLLEH"], ["DLROW"]]
    states = await emitted(ground, runs[0], "state")
    assert [(s["name"], s["update"]) for s in states] == [
        ("upper_case_executor", ["HELLO"]),
        ("reverse_text_executor", ["OLLEH"]),
    ]


def test_input_that_does_not_start_it() -> None:
    app = App()
    upper = Upper(id="up")
    app.add(WorkflowBuilder(start_executor=upper, name="text").build())
    with pytest.raises(InvalidInput, match="does not start with this"):
        app.agents["text"].validate(b"3")


def test_what_is_no_agent_is_refused() -> None:
    flow = WorkflowBuilder(start_executor=Agent(client=gpt(), name="a"), name="f").build()
    with pytest.raises(TargetError, match="WorkflowAgent"):
        App().add(flow.as_agent(name="x"))


async def test_agents_one_after_the_other(ground: Ground, tally: Tally, provide: Provide) -> None:
    def brain(call: Call) -> Reply:
        if "writer" in call.system:
            return Reply("A slogan.")
        if call.messages[-1].role != "tool":
            return Reply(tools=[("get_weather", {"location": "Faro"})])
        return Reply("Good.")

    provider = provide(brain)
    writer = Agent(client=gpt("chat"), name="writer", instructions="You are the writer.")
    reviewer = Agent(
        client=gpt("chat"), name="reviewer", instructions="You review.", tools=[weather(tally)]
    )
    app = App()
    app.add(WorkflowBuilder(start_executor=writer, name="chain").add_edge(writer, reviewer).build())
    tally.hold("weather Faro")
    await ground.begin(app)
    run = await ground.start("chain", "A slogan for a car.")
    await tally.reached("weather Faro")
    await ground.stop()
    tally.release("weather Faro")
    await ground.begin(app)
    result = await ground.result(run)
    assert [c["text"] for o in result for m in o["messages"] for c in m["contents"]
            if c["type"] == "text"][-1] == "Good."  # fmt: skip
    assert provider.counts().answered == 3
    (entry,) = [e for e in await tool_entries(ground, run) if e.branch]
    assert entry.branch.startswith("reviewer/")


class Start(Executor):
    """Hands the question to everyone."""

    @handler
    async def begin(self, text: str, ctx: WorkflowContext[str]) -> None:
        """To all."""
        await ctx.send_message(text)


class Gather(Executor):
    """Fan-in: takes the answers in the order in which they are delivered."""

    @handler
    async def gather(
        self, answers: list[AgentExecutorResponse], ctx: WorkflowContext[Never, list[str]]
    ) -> None:
        """All of them."""
        await ctx.yield_output([f"{a.executor_id}: {a.agent_response.text}" for a in answers])


class Tell(Executor):
    """Asks a model about each answer as it comes, over plain edges."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(id="tell")
        self._agent = agent
        self._heard: list[str] = []

    @handler
    async def hear(self, answer: AgentExecutorResponse, ctx: WorkflowContext[Never, str]) -> None:
        """One more."""
        self._heard.append(answer.agent_response.text)
        if len(self._heard) == 3:
            response = await self._agent.run(" / ".join(self._heard))
            await ctx.yield_output(response.text)


ROLES = ("legal", "market", "research")


def experts(tally: Tally) -> list[Agent]:
    return [
        Agent(client=gpt("chat"), name=role, instructions=role, tools=[weather(tally)])
        for role in ROLES
    ]


@pytest.mark.parametrize("fan_in", [True, False])
async def test_agents_at_once(ground: Ground, tally: Tally, provide: Provide, fan_in: bool) -> None:
    prompts: list[str] = []

    def brain(call: Call) -> Reply:
        role = call.system
        if role in ROLES:
            if call.turn == 0:
                return Reply(tools=[("get_weather", {"location": role})])
            # The one that is named first ends last.
            return Reply(f"{role} says yes", delay={"legal": 0.2, "market": 0.1}.get(role, 0))
        prompts.append(call.prompt)
        return Reply(f"heard {call.prompt}")

    provider = provide(brain)
    agents = experts(tally)
    start = Start(id="start")
    builder = WorkflowBuilder(start_executor=start, name="panel")
    builder.add_fan_out_edges(start, agents)
    if fan_in:
        builder.add_fan_in_edges(agents, Gather(id="gather"))
    else:
        tell = Tell(Agent(client=gpt("chat"), name="teller", instructions="tell"))
        for agent in agents:
            builder.add_edge(agent, tell)
    app = App()
    app.add(builder.build(), tools={"get_weather": "reads"})
    tally.hold("weather market")
    await ground.begin(app)
    run = await ground.start("panel", "Shall we?")
    await tally.reached("weather market")
    await ground.models_done(run, 5)  # all but market's last
    await ground.stop()
    tally.release("weather market")
    await ground.begin(app)
    result: Any = await ground.result(run)
    said = [f"{role} says yes" for role in ROLES]
    if fan_in:
        told = result[-1]
        assert sorted(told) == [f"{r}: {s}" for r, s in zip(ROLES, said, strict=True)]
    else:
        assert result[-1] == "heard " + " / ".join(said)
    assert tally.count("weather legal") == tally.count("weather research") == 1
    assert provider.counts().answered == (6 if fan_in else 7)
    assert {e.branch.split("/")[0] for e in await tool_entries(ground, run)} == set(ROLES)
    assert await ground.warnings(run) == []


@pytest.mark.filterwarnings("ignore::agent_framework._feature_stage.ExperimentalWarning")
async def test_a_functional_workflow(ground: Ground, tally: Tally, provide: Provide) -> None:
    provide(Reply(tools=[("get_weather", {"location": "Faro"})]), "Mild.")
    agent = Agent(client=gpt("chat"), name="inner", tools=[weather(tally)])

    @workflow
    async def report(city: str) -> str:
        """The weather report."""
        answer = await agent.run(f"How is {city}?")
        return f"{city}: {answer.text}"

    app = App()
    app.add(report)
    await ground.begin(app)
    run = await ground.start("report", "Faro")
    assert await ground.result(run) == ["Faro: Mild."]
    assert len(await tool_entries(ground, run)) == 1
