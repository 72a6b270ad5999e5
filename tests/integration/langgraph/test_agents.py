"""LangChain's create_agent with real SDK clients: nothing paid for is paid twice, nothing done is
done twice, whenever the worker goes away."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import BaseTool, tool
from langchain_openai import ChatOpenAI

from perdure.app import App
from perdure.testing.simulator import Reply
from tests.integration.langgraph.conftest import Provide, Tally, claude
from tests.running import Ground


def two_tools(tally: Tally) -> list[BaseTool]:
    @tool
    def search(q: str) -> str:
        """Search the library."""
        tally.note_sync("search")
        return f"found {q}"

    @tool
    async def fetch(url: str) -> str:
        """Fetch a page."""
        await tally.note("fetch")
        return f"page {url}"

    return [search, fetch]


def last(result: Any) -> str:
    content = result["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


BOTH = Reply("I look.", tools=[("search", {"q": "tides"}), ("fetch", {"url": "moon"})])


@pytest.mark.parametrize("held", ["search", "fetch"])
async def test_parallel_tools_half_done(
    ground: Ground, provide: Provide, tally: Tally, held: str
) -> None:
    sim = provide(BOTH, "It is the moon.")
    app = App()
    app.add(create_agent(claude(), two_tools(tally)), name="researcher")
    tally.hold(held)
    await ground.begin(app)
    run = await ground.start("researcher", "Why are there tides?")
    await tally.reached(held)
    other = {"search": "fetch", "fetch": "search"}[held]
    await ground.recorded(run, other)
    await ground.stop()
    tally.release(held)
    await ground.begin(app)
    assert last(await ground.result(run)) == "It is the moon."
    assert tally.count(other) == 1
    assert tally.count(held) == 2
    assert await ground.warnings(run) == ["rerun"]
    assert sim.counts().answered == 2
    assert not sim.counts().repeated


async def test_stopped_while_the_model_answers(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    sim = provide(BOTH, "It is the moon.")
    app = App()
    app.add(create_agent(claude(), two_tools(tally)), name="researcher")
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
    assert last(await ground.result(run)) == "It is the moon."
    assert sorted(tally.done) == ["fetch", "search"]
    assert sim.counts().answered == 2


async def test_openai_with_a_checkpoint_less_chat_history(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    sim = provide(BOTH, "It is the moon.")
    app = App()
    model = ChatOpenAI(model="gpt-5")
    app.add(create_agent(model, two_tools(tally)), name="researcher")
    tally.hold("fetch")
    await ground.begin(app)
    run = await ground.start(
        "researcher", {"messages": [{"role": "user", "content": "Why are there tides?"}]}
    )
    await tally.reached("fetch")
    await ground.recorded(run, "search")
    await ground.stop()
    tally.release("fetch")
    await ground.begin(app)
    result = await ground.result(run)
    assert last(result) == "It is the moon."
    assert [m["type"] for m in result["messages"]] == ["human", "ai", "tool", "tool", "ai"]
    assert tally.count("search") == 1
    assert not sim.counts().repeated


async def test_a_drain_goes_on_where_it_stopped(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    sim = provide(BOTH, "It is the moon.")
    app = App()
    app.add(create_agent(claude(), two_tools(tally)), name="researcher")
    tally.hold("fetch")
    worker = await ground.begin(app)
    run = await ground.start("researcher", "Why are there tides?")
    await tally.reached("fetch")
    draining = await ground.drain(worker)
    tally.release("fetch")
    await draining
    assert (await ground.store.get(run)).state == "queued"
    await ground.begin(app)
    assert last(await ground.result(run)) == "It is the moon."
    assert sorted(tally.done) == ["fetch", "search"]
    assert await ground.warnings(run) == []
    assert not sim.counts().repeated
