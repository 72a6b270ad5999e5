"""What a run's watchers see of a graph: tokens, messages, ended nodes, custom events; and nothing
of it twice when an attempt replays (E1)."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

from perdure.app import App
from perdure.core.record import Kind, RecordType
from perdure.testing.simulator import Reply
from tests.integration.langgraph.conftest import Provide, Tally, claude
from tests.running import Ground


class State(TypedDict, total=False):
    messages: Annotated[list[Any], add_messages]


async def outputs(ground: Ground, run: str) -> list[dict[str, Any]]:
    """The pieces of the agent's output, in order."""
    return [
        item
        for event in await ground.events(run)
        if event.type == RecordType.DELTA and event.kind == "output"
        for item in orjson.loads(event.value or b"[]")
    ]


async def emitted(ground: Ground, run: str, name: str) -> list[Any]:
    return [
        orjson.loads(event.value or b"null")
        for event in await ground.events(run)
        if event.kind == Kind.EMIT and event.name == name
    ]


def text(item: dict[str, Any]) -> str:
    content = item["message"]["content"]
    return content if isinstance(content, str) else "".join(c.get("text", "") for c in content)


WORDS = "The moon pulls at the sea and the sea follows it twice a day, wherever you are."


async def test_tokens_come_once_over_all_attempts(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    provide(Reply("I will look.", tools=[("look", {"at": "sea"})], chunk=4), Reply(WORDS, chunk=8))

    @tool
    async def look(at: str) -> str:
        """Looks."""
        await tally.note("look")
        return f"seen {at}"

    app = App()
    app.add(create_agent(claude(), [look]), name="chat")
    tally.hold("look")
    await ground.begin(app)
    run = await ground.start("chat", "tides?")
    await tally.reached("look")
    await ground.stop()
    tally.release("look")
    await ground.begin(app)
    result = await ground.result(run)
    items = await outputs(ground, run)
    assert {item["type"] for item in items} == {"message"}
    assert "".join(map(text, items)) == f"I will look.seen sea{WORDS}"
    assert [m["type"] for m in result["messages"]] == ["human", "ai", "tool", "ai"]
    paths = list(dict.fromkeys((item["node"], item["path"]) for item in items))
    assert paths == [
        ("model", "graph#1/model"),
        ("tools", "graph#2/tools.0"),
        ("model", "graph#3/model"),
    ]
    nodes = await emitted(ground, run, "state")
    assert [node["path"] for node in nodes] == ["graph#1/model", "graph#2/tools.0", "graph#3/model"]
    assert nodes[1]["update"]["messages"][0]["content"] == "seen sea"


async def test_tokens_of_a_model_that_is_called_synchronously(
    ground: Ground, provide: Provide
) -> None:
    provide(Reply(WORDS, chunk=8))
    model = claude()

    def answer(state: State) -> State:
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(State)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    app = App()
    app.add(graph, name="chat")
    await ground.begin(app)
    run = await ground.start("chat", "tides?")
    await ground.result(run)
    assert "".join(map(text, await outputs(ground, run))) == WORDS


async def test_a_model_that_is_not_to_be_streamed_is_not(ground: Ground, provide: Provide) -> None:
    provide(Reply(WORDS, chunk=8))
    quiet = claude().with_config(tags=["nostream"])

    async def think(state: State) -> State:
        await quiet.ainvoke(state["messages"])
        return {}

    graph = StateGraph(State)
    graph.add_node("think", think)
    graph.add_edge(START, "think")
    app = App()
    app.add(graph, name="chat")
    await ground.begin(app)
    run = await ground.start("chat", "tides?")
    await ground.result(run)
    assert await outputs(ground, run) == []


async def test_custom_events_come_once(ground: Ground, tally: Tally) -> None:
    @tool
    async def work(x: int) -> str:
        """Works."""
        get_stream_writer()({"inside": x})
        await tally.note("work")
        return "done"

    async def node(state: State) -> State:
        get_stream_writer()("begun")
        await work.ainvoke({"x": 1})
        await tally.note("over")
        return {}

    graph = StateGraph(State)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    app = App()
    app.add(graph, name="says")
    tally.hold("over")
    await ground.begin(app)
    run = await ground.start("says", {"messages": []})
    await tally.reached("over")
    await ground.recorded(run, "custom", 2)
    await ground.stop()
    tally.release("over")
    await ground.begin(app)
    await ground.result(run)
    assert await emitted(ground, run, "custom") == ["begun", {"inside": 1}]
    assert tally.count("work") == 1


async def test_a_large_update_is_told_by_its_keys(ground: Ground) -> None:
    def node(state: State) -> State:
        return {"messages": [("ai", "x" * 100_000)]}

    graph = StateGraph(State)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    app = App()
    app.add(graph, name="large")
    await ground.begin(app)
    run = await ground.start("large", {"messages": []})
    await ground.result(run)
    (event,) = await emitted(ground, run, "state")
    assert event["keys"] == ["messages"]
    assert event["omitted_bytes"] > 100_000
