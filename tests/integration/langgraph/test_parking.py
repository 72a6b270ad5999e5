"""Parking and cancelling in the middle of a graph (C1-C4): nothing in flight is lost, no framework
takes the unwinding for a failure, nothing of it is in the checkpoint."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import RetryPolicy
from typing_extensions import TypedDict

import perdure
from perdure.app import App
from perdure.core.record import EntryState, Kind
from perdure.runtime.verbs import wait_for_blocking
from tests.integration.langgraph.conftest import Tally
from tests.running import Ground


class State(TypedDict, total=False):
    messages: Annotated[list[Any], add_messages]
    found: Annotated[list[Any], operator.add]


def tools(tally: Tally) -> list[Any]:
    @tool
    async def slow(x: int) -> str:
        """Takes its time."""
        await tally.note("slow")
        return "slow"

    @tool
    def slow_sync(x: int) -> str:
        """Takes its time in a thread."""
        tally.note_sync("slow_sync")
        return "slow_sync"

    @tool
    async def approval(x: int) -> Any:
        """Waits for a decision."""
        return await perdure.wait_for("decision")

    @tool
    def approval_sync(x: int) -> Any:
        """Waits for a decision in a thread."""
        return wait_for_blocking("decision")

    return [slow, slow_sync, approval, approval_sync]


def asking(*names: str) -> Any:
    def ask(state: State) -> State:
        calls: list[Any] = [
            {"name": name, "args": {"x": 1}, "id": f"call_{name}", "type": "tool_call"}
            for name in names
        ]
        return {"messages": [AIMessage("", tool_calls=calls)]}

    return ask


def states(journal: Any) -> dict[str, str]:
    return {e.name: e.state for e in journal if e.kind == Kind.TOOL}


@pytest.mark.parametrize("approval", ["approval", "approval_sync"])
@pytest.mark.parametrize("slow", ["slow", "slow_sync"])
async def test_a_park_waits_for_what_is_in_flight(
    ground: Ground, tally: Tally, tmp_path: Path, slow: str, approval: str
) -> None:
    retries: list[Exception] = []

    def retry(error: Exception) -> bool:
        retries.append(error)
        return True

    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "c.db")) as saver:
        graph = StateGraph(State)
        graph.add_node("ask", asking(slow, approval))
        node = ToolNode(tools(tally), handle_tool_errors=True)
        graph.add_node("tools", node, retry_policy=RetryPolicy(retry_on=retry))
        graph.add_edge(START, "ask")
        graph.add_edge("ask", "tools")
        app = App()
        app.add(graph.compile(checkpointer=saver), name="asks", park_after=0)
        tally.hold(slow)
        await ground.begin(app)
        run = await ground.start("asks", {"messages": []})
        await tally.reached(slow)
        assert (await ground.store.get(run)).state == "running"
        tally.release(slow)
        await ground.until(run, "waiting")
        # The finished one is recorded, the waiting one was put down, nothing failed.
        assert states(await ground.store.journal(run)) == {slow: "done"}
        await ground.store.signal(run, "decision", b'"yes"')
        result = await ground.result(run)
    assert [m["content"] for m in result["messages"][1:]] == [slow, "yes"]
    assert tally.count(slow) == 1
    assert retries == []
    assert await ground.warnings(run) == []


async def test_a_drain_in_the_middle_of_parallel_nodes(
    ground: Ground, tally: Tally, tmp_path: Path
) -> None:
    slow, slow_sync, *_ = tools(tally)
    handled: list[str] = []

    async def one(state: State) -> State:
        return {"found": [await slow.ainvoke({"x": 1}), await slow.ainvoke({"x": 2})]}

    def two(state: State) -> State:
        return {"found": [slow_sync.invoke({"x": 1}), slow_sync.invoke({"x": 2})]}

    def recover(state: State) -> State:
        handled.append("recovered")
        return {}

    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "c.db")) as saver:
        graph = StateGraph(State)
        graph.add_node("one", one, error_handler=recover)
        graph.add_node("two", two, error_handler=recover)
        graph.add_edge(START, "one")
        graph.add_edge(START, "two")
        app = App()
        app.add(graph.compile(checkpointer=saver), name="both")
        tally.hold("slow")
        tally.hold("slow_sync")
        worker = await ground.begin(app)
        run = await ground.start("both", {"found": []})
        await tally.reached("slow")
        await tally.reached("slow_sync")
        draining = await ground.drain(worker)
        tally.release("slow_sync")  # its thread comes to its next boundary while slow is in flight
        await ground.recorded(run, "slow_sync")
        tally.release("slow")
        await draining
        done = [e.name for e in await ground.store.journal(run) if e.state == EntryState.DONE]
        assert sorted(n for n in done if n.startswith("slow")) == ["slow", "slow_sync"]
        await ground.begin(app)
        result = await ground.result(run)
    assert sorted(result["found"]) == ["slow", "slow", "slow_sync", "slow_sync"]
    assert tally.count("slow") == tally.count("slow_sync") == 2
    assert handled == []
    assert await ground.warnings(run) == []


async def test_a_synchronous_graph_parks_and_keeps_its_checkpoint_clean(
    ground: Ground, tally: Tally, tmp_path: Path
) -> None:
    handled: list[str] = []
    _, slow_sync, _, approval_sync = tools(tally)

    def one(state: State) -> State:
        return {"found": [slow_sync.invoke({"x": 1})]}

    def two(state: State) -> State:
        return {"found": [approval_sync.invoke({"x": 1})]}

    def recover(state: State) -> State:
        handled.append("recovered")
        return {}

    with SqliteSaver.from_conn_string(str(tmp_path / "c.db")) as saver:
        graph = StateGraph(State)
        graph.add_node("one", one, error_handler=recover)
        graph.add_node("two", two, error_handler=recover)
        graph.add_edge(START, "one")
        graph.add_edge(START, "two")
        app = App()
        app.add(graph.compile(checkpointer=saver), name="threads", park_after=0)
        await ground.begin(app)
        run = await ground.start("threads", {"found": []})
        await ground.until(run, "waiting")
        await ground.store.signal(run, "decision", b'"yes"')
        result = await ground.result(run)
    assert result["found"] == ["slow_sync", "yes"]
    assert tally.count("slow_sync") == 1
    assert handled == []


async def test_a_cancel_ends_the_run(ground: Ground, tally: Tally) -> None:
    slow, *_ = tools(tally)
    cleaned: list[str] = []

    async def node(state: State) -> State:
        try:
            return {"found": [await slow.ainvoke({"x": 1})]}
        finally:
            cleaned.append("cleaned")

    graph = StateGraph(State)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    app = App()
    app.add(graph, name="long")
    tally.hold("slow")
    await ground.begin(app)
    run = await ground.start("long", {"found": []})
    await tally.reached("slow")
    await ground.store.cancel(run)
    ended = await ground.until(run)
    assert ended.state == "cancelled"
    assert cleaned == ["cleaned"]
