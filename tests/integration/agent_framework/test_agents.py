"""Agents as they are: run, streamed, parallel tools, agents as tools, middleware, sessions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import pytest
from agent_framework import (
    Agent,
    AgentContext,
    AgentResponse,
    FunctionInvocationContext,
    InMemoryHistoryProvider,
    agent_middleware,
    function_middleware,
    tool,
)
from pydantic import BaseModel, Field

from perdure.app import App
from perdure.core.record import EntryState, Kind, Promise
from perdure.errors import ConfigError, InvalidInput
from perdure.frameworks.agent_framework.patch import install, installed, uninstall
from perdure.testing.simulator import Call, Reply
from perdure.testing.simulator.faults import Fault
from tests.integration.agent_framework.conftest import gpt
from tests.integration.stage import Provide, Tally, tool_entries
from tests.running import Ground


def said(result: dict[str, Any]) -> str:
    """The text of a response's last message."""
    return "".join(c.get("text", "") for c in result["messages"][-1]["contents"])


def weather(tally: Tally) -> Any:
    async def get_weather(
        location: Annotated[str, Field(description="The location to get the weather for.")],
    ) -> str:
        """Get the weather for a given location."""
        await tally.note(f"weather {location}")
        return f"The weather in {location} is cloudy."

    return get_weather


@pytest.mark.parametrize("api", ["responses", "chat"])
async def test_parallel_tools_survive_the_loss_of_their_worker(
    ground: Ground, tally: Tally, provide: Provide, api: str
) -> None:
    provider = provide(
        Reply(tools=[("get_weather", {"location": c}) for c in ("Porto", "Faro")]),
        "Cloudy in both.",
    )
    app = App()
    app.add(
        Agent(client=gpt(api), name="forecaster", tools=[weather(tally)]),
        tools={"get_weather": "reads"},
    )
    tally.hold("weather Faro")
    await ground.begin(app)
    run = await ground.start("forecaster", "How is the weather in Porto and Faro?")
    await tally.reached("weather Faro")
    await ground.tools_done(run, 1)
    await ground.stop()
    tally.release("weather Faro")
    await ground.begin(app)
    result = await ground.result(run)
    assert said(result) == "Cloudy in both."
    assert tally.count("weather Porto") == 1
    assert provider.counts().answered == 2
    entries = await tool_entries(ground, run)
    assert {e.state for e in entries} == {EntryState.DONE}
    assert len({e.branch for e in entries}) == 2
    assert {e.promise for e in entries} == {Promise.READS}
    assert await ground.warnings(run) == []


async def test_tokens_come_as_they_are_said(ground: Ground, provide: Provide) -> None:
    provide(Reply("One two three four five six.", chunk=4))
    app = App()
    app.add(Agent(client=gpt(), name="talker"))
    await ground.begin(app)
    run = await ground.start("talker", "Count.")
    assert said(await ground.result(run)) == "One two three four five six."
    deltas = [e for e in await ground.events(run) if e.type == "delta" and e.kind == Kind.MODEL]
    assert deltas


async def test_a_sync_tool_has_a_thread_and_its_failure_is_told_to_the_model(
    ground: Ground, tally: Tally, provide: Provide
) -> None:
    import threading

    threads: list[str] = []

    @tool
    def lookup(key: str) -> str:
        """Look it up."""
        threads.append(threading.current_thread().name)
        if key == "bad":
            raise ValueError("no such key")
        return f"found {key}"

    provider = provide(
        Reply(tools=[("lookup", {"key": "bad"})]), Reply(tools=[("lookup", {"key": "a"})]), "Done."
    )
    app = App()
    app.add(Agent(client=gpt(), name="finder", tools=lookup))
    await ground.begin(app)
    run = await ground.start("finder", "Find.")
    assert said(await ground.result(run)) == "Done."
    assert all(name.startswith("perdure-") for name in threads)
    assert [e.state for e in await tool_entries(ground, run)] == [
        EntryState.FAILED,
        EntryState.DONE,
    ]
    assert provider.counts().answered == 3


class Place(BaseModel):
    city: str
    height: int


async def test_what_tools_return_is_what_a_replay_gives(
    ground: Ground, tally: Tally, provide: Provide
) -> None:
    @tool(result_parser=lambda place: f"{place.city}: {place.height} m")
    async def typed(city: str) -> Place:
        """By annotation."""
        tally.done.append("typed")
        return Place(city=city, height=7)

    @tool
    async def odd(n: int) -> dict[Any, Any]:
        """No JSON."""
        tally.done.append("odd")
        return {n: Place(city="x", height=n), "f": 1.5}

    async def last(n: int) -> str:
        """Where the worker is lost."""
        await tally.note("last")
        return "ok"

    provider = provide(
        Reply(tools=[("typed", {"city": "Evora"}), ("odd", {"n": 3})]),
        Reply(tools=[("last", {"n": 1})]),
        "Done.",
    )
    app = App()
    app.add(Agent(client=gpt("chat"), name="mixed", tools=[typed, odd, last]))
    tally.hold("last")
    await ground.begin(app)
    run = await ground.start("mixed", "Go.")
    await tally.reached("last")
    await ground.stop()
    tally.release("last")
    await ground.begin(app)
    result = await ground.result(run)
    results = {
        c["call_id"]: c["result"]
        for message in result["messages"]
        for c in message["contents"]
        if c["type"] == "function_result"
    }
    assert "Evora: 7 m" in results.values()
    assert tally.count("typed") == tally.count("odd") == 1
    assert provider.counts().answered == 3
    assert await ground.warnings(run) == ["rerun"]


async def test_a_structured_answer(ground: Ground, provide: Provide) -> None:
    provide('{"city": "Faro", "height": 3}')
    app = App()
    app.add(
        Agent(client=gpt("chat"), name="typed", default_options={"response_format": Place}),
    )
    await ground.begin(app)
    run = await ground.start("typed", {"role": "user", "text": "Where?"})
    assert (await ground.result(run))["value"] == {"city": "Faro", "height": 3}


async def test_an_agent_as_a_tool_is_replayed_from_within(
    ground: Ground, tally: Tally, provide: Provide
) -> None:
    def brain(call: Call) -> Reply:
        if "outer" in call.system:
            if call.turn == 0:
                return Reply(tools=[("researcher", {"task": "tides"})])
            return Reply("Outer done.")
        if call.turn == 0:
            return Reply(tools=[("get_weather", {"location": "Faro"})])
        return Reply("Inner done.")

    provider = provide(brain)
    inner = Agent(client=gpt("chat"), name="researcher", instructions="inner",
                  tools=[weather(tally)])  # fmt: skip
    app = App()
    outer = Agent(client=gpt("chat"), name="lead", instructions="outer", tools=[inner.as_tool()])
    app.add(outer, tools={"get_weather": "reads"})
    tally.hold("weather Faro")
    await ground.begin(app)
    run = await ground.start("lead", "Go.")
    await tally.reached("weather Faro")
    await ground.stop()
    tally.release("weather Faro")
    await ground.begin(app)
    assert said(await ground.result(run)) == "Outer done."
    assert provider.counts().answered == 4
    by_name = {e.name: e for e in await tool_entries(ground, run)}
    assert by_name["get_weather"].scope == by_name["researcher"].key


async def test_what_a_tool_changes_in_its_session_comes_back(
    ground: Ground, tally: Tally, provide: Provide
) -> None:
    @tool
    async def remember(what: str, ctx: FunctionInvocationContext) -> str:
        """Remember it."""
        tally.done.append("remember")
        assert ctx.session is not None
        ctx.session.state["noted"] = {"what": what}
        return "noted"

    @tool
    async def recall(n: int, ctx: FunctionInvocationContext) -> str:
        """What was remembered."""
        assert ctx.session is not None
        await tally.note("recall")
        return str(ctx.session.state["noted"]["what"])

    provide(
        Reply(tools=[("remember", {"what": "tides"})]),
        Reply(tools=[("recall", {"n": 1})]),
        "Done.",
        "As you said: tides.",
    )
    agent = Agent(client=gpt("chat"), name="memo", tools=[remember, recall])
    app = App()
    app.add(agent)
    tally.hold("recall")
    await ground.begin(app)
    run = await ground.start("memo", {"messages": "Go.", "session": None})
    await tally.reached("recall")
    await ground.stop()
    tally.release("recall")
    await ground.begin(app)
    result = await ground.result(run)
    assert tally.count("remember") == 1
    assert result["session"]["state"]["noted"] == {"what": "tides"}
    (found,) = [
        c["result"]
        for m in result["response"]["messages"]
        for c in m["contents"]
        if c.get("result") == "tides"
    ]
    assert found == "tides"
    # What was handed over is as it was.
    assert agent.context_providers == []
    # A session goes on in the next run.
    again = await ground.start("memo", {"messages": "And?", "session": result["session"]})
    assert (await ground.result(again))["session"]["session_id"] == result["session"]["session_id"]


async def test_middleware_of_the_users_own(ground: Ground, tally: Tally, provide: Provide) -> None:
    @agent_middleware
    async def around(context: AgentContext, call_next: Callable[[], Awaitable[None]]) -> None:
        await call_next()
        assert isinstance(context.result, AgentResponse)
        tally.done.append(f"saw {context.result.text}")

    @function_middleware
    async def shout(
        context: FunctionInvocationContext, call_next: Callable[[], Awaitable[None]]
    ) -> None:
        await call_next()
        tally.done.append(f"called {context.function.name}")

    provide(Reply(tools=[("get_weather", {"location": "Faro"})]), "Fine.")
    app = App()
    app.add(
        Agent(
            client=gpt("chat"), name="guarded", tools=[weather(tally)], middleware=[around, shout]
        )
    )
    await ground.begin(app)
    run = await ground.start("guarded", "Go.")
    assert said(await ground.result(run)) == "Fine."
    assert tally.done == ["weather Faro", "called get_weather", "saw Fine."]
    (entry,) = await tool_entries(ground, run)
    assert entry.branch


async def test_histories_of_providers_of_the_users_own(ground: Ground, provide: Provide) -> None:
    prompts: list[list[str]] = []

    def brain(call: Call) -> Reply:
        prompts.append([message.text for message in call.messages])
        return Reply(("First.", "Second.")[call.turn])

    provide(brain)
    agent = Agent(
        client=gpt("chat"), name="keeper", context_providers=[InMemoryHistoryProvider("mine")]
    )
    app = App()
    app.add(agent)
    await ground.begin(app)
    first = await ground.result(await ground.start("keeper", {"messages": "One.", "session": None}))
    await ground.result(
        await ground.start("keeper", {"messages": ["Two."], "session": first["session"]})
    )
    assert prompts == [["One."], ["One.", "First.", "Two."]]


async def test_a_tool_that_changes_the_tools_is_refused(ground: Ground, provide: Provide) -> None:
    @tool
    async def more(n: int, ctx: FunctionInvocationContext) -> str:
        """Adds tools."""
        assert ctx.tools is not None
        ctx.tools.append(tool(lambda x: x, name="added"))
        return "ok"

    provide(Reply(tools=[("more", {"n": 1})]), "Done.")
    app = App()
    app.add(Agent(client=gpt("chat"), name="grower", tools=[more]))
    await ground.begin(app)
    run = await ground.until(await ground.start("grower", "Go."))
    assert run.state == "failed"
    assert "changed the agent's tools" in str(run.error)


async def test_what_a_provider_refuses_is_not_tried_again(ground: Ground, provide: Provide) -> None:
    provider = provide("Never.")
    provider.set_faults([Fault("400")])
    app = App()
    app.add(Agent(client=gpt("chat"), name="refused"))
    await ground.begin(app)
    run = await ground.until(await ground.start("refused", "Go."))
    assert run.state == "failed"
    assert provider.counts().started == 1


def test_what_is_no_input_is_refused() -> None:
    app = App()
    app.add(Agent(client=gpt(), name="strict"))
    agent = app.agents["strict"]
    for bad in (b"null", b"[]", b'{"text": "x"}', b'{"messages": "a", "more": 1}', b"3"):
        with pytest.raises(InvalidInput):
            agent.validate(bad)
    agent.validate(b'"hello"')
    agent.validate(b'{"messages": [{"role": "user", "contents": ["hi"]}]}')


async def test_a_promise_for_no_tool_is_refused(tally: Tally) -> None:
    app = App()
    with pytest.raises(ConfigError, match="no tool 'nothing'"):
        app.add(Agent(client=gpt(), name="x", tools=[weather(tally)]), tools={"nothing": "reads"})


async def test_outside_a_run_nothing_is_different(provide: Provide, tally: Tally) -> None:
    provide(Reply(tools=[("get_weather", {"location": "Faro"})]), "Fine.")
    install()
    assert installed()
    client = gpt("chat")
    async with client.client:
        agent = Agent(client=client, name="free", tools=[weather(tally)])
        assert (await agent.run("Go.")).text == "Fine."
    uninstall()
    assert not installed()
    install()
