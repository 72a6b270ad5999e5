"""The graph's own checkpointer (A1): a run goes on from its checkpoint and never sends its input
twice, sessions share a thread, and a run that is new does not mistake another's checkpoint for its
own."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

import perdure
from perdure.app import App
from perdure.core.record import Kind
from perdure.store.rows import Settled, Settlement
from tests.integration.langgraph.conftest import Tally
from tests.running import Ground


class State(TypedDict, total=False):
    messages: Annotated[list[Any], add_messages]
    found: Annotated[list[Any], operator.add]


@pytest.fixture
async def saver(tmp_path: Path) -> AsyncIterator[AsyncSqliteSaver]:
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "checkpoints.db")) as made:
        yield made


def steps(tally: Tally, *names: str) -> Any:
    @tool
    async def work(what: str) -> str:
        """Works."""
        await tally.note(what)
        return what.upper()

    def node(name: str) -> Any:
        async def run(state: State) -> State:
            tally.done.append(f"node {name}")
            found = await work.ainvoke({"what": name})
            await tally.note(f"{name} over")
            return {"found": [found], "messages": [("ai", found)]}

        return run

    graph = StateGraph(State)
    before = START
    for name in names:
        graph.add_node(name, node(name))
        graph.add_edge(before, name)
        before = name
    return graph


HELLO = {"messages": [{"role": "user", "content": "hello"}]}


def said(result: Any) -> list[str]:
    return [message["content"] for message in result["messages"]]


async def test_a_run_goes_on_from_its_checkpoint(
    ground: Ground, tally: Tally, saver: AsyncSqliteSaver
) -> None:
    app = App()
    app.add(steps(tally, "a", "b", "c").compile(checkpointer=saver), name="kept")
    tally.hold("c")
    await ground.begin(app)
    run = await ground.start("kept", HELLO)
    await tally.reached("c")
    await ground.stop()
    tally.release("c")
    await ground.begin(app)
    assert said(await ground.result(run)) == ["hello", "A", "B", "C"]
    assert tally.count("node a") == 1  # not even the node ran again
    assert tally.count("node c") == 2
    entries = [e for e in await ground.store.journal(run) if e.kind == Kind.TOOL]
    # Supersteps are counted on from the checkpoint, so that names match.
    assert [e.branch for e in entries] == ["graph#1/a", "graph#2/b", "graph#3/c"]
    assert all(e.state == "done" for e in entries)


async def test_a_tool_that_was_done_but_not_yet_in_a_checkpoint(
    ground: Ground, tally: Tally, saver: AsyncSqliteSaver
) -> None:
    app = App()
    app.add(steps(tally, "a", "b").compile(checkpointer=saver), name="kept")
    tally.hold("b over")
    await ground.begin(app)
    run = await ground.start("kept", HELLO)
    await tally.reached("b over")
    await ground.stop()
    tally.release("b over")
    await ground.begin(app)
    assert said(await ground.result(run)) == ["hello", "A", "B"]
    assert tally.count("node b") == 2
    assert tally.count("b") == 1  # answered from the journal


async def test_stopped_between_the_last_checkpoint_and_settlement(
    ground: Ground, tally: Tally, saver: AsyncSqliteSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App()
    app.add(steps(tally, "a").compile(checkpointer=saver), name="kept")
    settling, never = asyncio.Event(), asyncio.Event()
    worker = await ground.begin(app)

    async def lost(settlement: Settlement) -> Settled:
        settling.set()
        await never.wait()
        raise AssertionError("not reached")

    monkeypatch.setattr(worker.runtime.recorder, "settle", lost)
    run = await ground.start("kept", HELLO)
    await settling.wait()
    await ground.stop()
    await ground.begin(app)
    assert said(await ground.result(run)) == ["hello", "A"]
    assert tally.count("node a") == 1


async def test_sessions_share_a_thread(
    ground: Ground, tally: Tally, saver: AsyncSqliteSaver
) -> None:
    app = App()
    app.add(steps(tally, "a", "b").compile(checkpointer=saver), name="chat")
    tally.hold("b")
    await ground.begin(app)
    first = await ground.start("chat", HELLO, session="s")
    await tally.reached("b")
    await ground.stop()
    tally.release("b")
    await ground.begin(app)
    assert said(await ground.result(first)) == ["hello", "A", "B"]
    tally.hold("b")
    second = await ground.start("chat", HELLO, session="s")
    await tally.reached("b")
    await ground.stop()
    tally.release("b")
    await ground.begin(app)
    result = await ground.result(second)
    assert said(result) == ["hello", "A", "B", "hello", "A", "B"]
    other = await ground.start("chat", HELLO, session="another")
    assert said(await ground.result(other)) == ["hello", "A", "B"]


async def test_checkpoints_are_written_before_the_next_superstep(
    ground: Ground, tally: Tally, saver: AsyncSqliteSaver
) -> None:
    app = App()
    app.add(steps(tally, "a", "b").compile(checkpointer=saver), name="kept")
    tally.hold("b")
    await ground.begin(app)
    run = await ground.start("kept", HELLO)
    await tally.reached("b")
    kept = await saver.aget_tuple({"configurable": {"thread_id": run}})
    assert kept is not None
    assert kept.metadata["step"] == 1
    assert kept.metadata["perdure_run"] == run  # type: ignore[typeddict-item]
    tally.release("b")
    await ground.result(run)


async def test_a_failed_attempt_leaves_no_failure_in_the_checkpoint(
    ground: Ground, tally: Tally, saver: AsyncSqliteSaver
) -> None:
    """Parking cancels nodes; LangGraph notes that beside the checkpoint, and it must not count."""
    handled: list[str] = []

    async def asks(state: State) -> State:
        return {"found": [await perdure.wait_for("go")]}

    async def recover(state: State) -> State:
        handled.append("recovered")
        return {"found": ["recovered"]}

    graph = StateGraph(State)
    graph.add_node("asks", asks, error_handler=recover)
    graph.add_edge(START, "asks")
    app = App()
    app.add(graph.compile(checkpointer=saver), name="asks", park_after=0)
    await ground.begin(app)
    run = await ground.start("asks", {"found": []})
    await ground.until(run, "waiting")
    await ground.store.signal(run, "go", b'"on"')
    assert (await ground.result(run))["found"] == ["on"]
    assert handled == []
