"""``interrupt()`` is a durable wait: the run parks, any worker goes on with the answer, and what an
interrupted node did before is not done twice."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Annotated, Any

import orjson
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import Send, interrupt
from typing_extensions import TypedDict

import perdure
from perdure.app import App
from perdure.core.record import EntryState, Kind
from perdure.testing.simulator import Reply
from tests.integration.langgraph.conftest import Provide, Tally, claude
from tests.running import Ground


class State(TypedDict, total=False):
    messages: Annotated[list[Any], add_messages]
    found: Annotated[list[Any], operator.add]
    item: str


async def questions(ground: Ground, run: str) -> list[dict[str, Any]]:
    return [
        orjson.loads(event.value or b"")
        for event in await ground.events(run)
        if event.kind == Kind.EMIT and event.name == "interrupt"
    ]


async def answer(ground: Ground, run: str, value: Any, name: str = "resume") -> None:
    await ground.store.signal(run, name, orjson.dumps(value))


def one_node(run: Any, **compile: Any) -> Any:
    graph = StateGraph(State)
    graph.add_node("human", run)
    graph.add_edge(START, "human")
    return graph.compile(**compile)


@pytest.mark.parametrize("kept", [False, True])
async def test_a_node_that_asks_and_is_answered_by_another_worker(
    ground: Ground, tally: Tally, tmp_path: Path, kept: bool
) -> None:
    @tool
    async def draft(x: int) -> str:
        """Writes a draft."""
        tally.done.append("draft")
        return "draft"

    async def human(state: State) -> State:
        text = await draft.ainvoke({"x": 1})
        decision = interrupt({"text": text})
        again = interrupt("sure?") if decision == "yes" else None
        return {"found": [text, decision, again]}

    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "c.db")) as saver:
        app = App()
        app.add(one_node(human, checkpointer=saver if kept else None), name="ask", park_after=0)
        await ground.begin(app)
        run = await ground.start("ask", {"found": []})
        await ground.until(run, "waiting")
        (asked,) = await questions(ground, run)
        assert (asked["node"], asked["value"]) == ("human", {"text": "draft"})
        await ground.stop()
        await answer(ground, run, "yes")
        await ground.begin(app)
        await ground.asked(run, 2)
        await ground.until(run, "waiting")
        second = (await questions(ground, run))[1]
        assert second["id"] != asked["id"]
        assert second["value"] == "sure?"
        await answer(ground, run, {"yes": True}, f"resume:{second['id']}")
        result = await ground.result(run)
    assert result["found"] == ["draft", "yes", {"yes": True}]
    assert tally.count("draft") == 1
    assert len(await questions(ground, run)) == 2
    assert await ground.warnings(run) == []


@pytest.mark.parametrize("kept", [False, True])
async def test_questions_at_once_are_answered_by_id_in_any_order(
    ground: Ground, tmp_path: Path, kept: bool
) -> None:
    async def human(state: State) -> State:
        return {"found": [f"{state['item']}:{interrupt({'about': state['item']})}"]}

    graph = StateGraph(State)
    graph.add_node("human", human)
    graph.add_conditional_edges(START, lambda _: [Send("human", {"item": i}) for i in "ab"])
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "c.db")) as saver:
        app = App()
        app.add(graph.compile(checkpointer=saver if kept else None), name="two", park_after=0)
        await ground.begin(app)
        run = await ground.start("two", {"found": []})
        await ground.until(run, "waiting")
        asked = {q["value"]["about"]: q["id"] for q in await questions(ground, run)}
        await answer(ground, run, "B", f"resume:{asked['b']}")
        await ground.stop()
        await ground.begin(app)
        await ground.until(run, "waiting")
        await answer(ground, run, "A")
        result = await ground.result(run)
    assert sorted(result["found"]) == ["a:A", "b:B"]
    assert len(await questions(ground, run)) == 2


async def test_a_tool_that_asks_beside_one_that_is_done(ground: Ground, tally: Tally) -> None:
    """A ToolNode runs as a whole again when one of its tools was answered; the others' work, and
    what the asking tool did before it asked, are not repeated."""

    @perdure.step
    async def prepare() -> str:
        tally.done.append("prepare")
        return "prepared"

    @tool
    async def fast(x: int) -> str:
        """Is done at once."""
        tally.done.append("fast")
        return "fast"

    @tool
    async def careful(x: int) -> str:
        """Asks first."""
        what = await prepare()
        return f"{what} {interrupt('may I?')}"

    def ask(state: State) -> State:
        calls: list[Any] = [
            {"name": name, "args": {"x": 1}, "id": f"call_{name}", "type": "tool_call"}
            for name in ("fast", "careful")
        ]
        return {"messages": [AIMessage("", tool_calls=calls)]}

    graph = StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_node("tools", ToolNode([fast, careful]))
    graph.add_edge(START, "ask")
    graph.add_edge("ask", "tools")
    app = App()
    app.add(graph, name="careful", undeclared="ask", park_after=0)
    await ground.begin(app)
    run = await ground.start("careful", {"messages": []})
    parked = await ground.until(run, "waiting")
    assert [wait["reason"] for wait in parked.waits] == ["signal", "signal"]
    await ground.stop()
    await answer(ground, run, "yes")
    await ground.begin(app)
    result = await ground.result(run)
    assert [m["content"] for m in result["messages"][-2:]] == ["fast", "prepared yes"]
    assert sorted(tally.done) == ["fast", "prepare"]
    assert await ground.warnings(run) == []


async def test_a_once_tool_may_ask_before_it_acts(ground: Ground, tally: Tally) -> None:
    @tool
    async def pay(cents: int) -> str:
        """Pays."""
        if interrupt({"pay": cents}) != "yes":
            return "refused"
        tally.done.append("pay")
        return "paid"

    async def human(state: State) -> State:
        return {"found": [await pay.ainvoke({"cents": 5})]}

    app = App()
    app.add(one_node(human), name="payer", tools={"pay": "once"})
    await ground.begin(app)
    run = await ground.start("payer", {"found": []})
    await ground.asked(run, 1)
    await answer(ground, run, "yes")
    assert (await ground.result(run))["found"] == ["paid"]
    assert tally.done == ["pay"]
    states = [e.state for e in await ground.events(run) if e.name == "pay" and e.state]
    assert states == [EntryState.INTENT, EntryState.VOID, EntryState.INTENT, EntryState.DONE]


async def test_an_interrupt_in_a_subgraph_and_in_an_agent_inside_a_tool(
    ground: Ground, tally: Tally
) -> None:
    @tool
    async def before(x: int) -> str:
        """Is done before."""
        tally.done.append("before")
        return "before"

    async def first(state: State) -> State:
        return {"found": [await before.ainvoke({"x": 1})]}

    async def second(state: State) -> State:
        return {"found": [interrupt("inner?")]}

    inner = StateGraph(State)
    inner.add_node("first", first)
    inner.add_node("second", second)
    inner.add_edge(START, "first")
    inner.add_edge("first", "second")
    sub = inner.compile()

    @tool
    async def helper(x: int) -> Any:
        """Runs a graph of its own."""
        return (await sub.ainvoke({"found": []}))["found"]

    async def calls(state: State) -> State:
        return {"found": await helper.ainvoke({"x": 1})}

    graph = StateGraph(State)
    graph.add_node("sub", sub)
    graph.add_node("calls", calls)
    graph.add_edge(START, "sub")
    graph.add_edge("sub", "calls")
    app = App()
    app.add(graph, name="nested", park_after=0)
    await ground.begin(app)
    run = await ground.start("nested", {"found": ["start"]})
    await ground.until(run, "waiting")
    await ground.stop()
    await answer(ground, run, "one")
    await ground.begin(app)
    await ground.asked(run, 2)
    await ground.until(run, "waiting")
    await ground.stop()
    await answer(ground, run, "two")
    await ground.begin(app)
    result = await ground.result(run)
    assert result["found"] == ["start", "start", "before", "one", "before", "two"]
    assert tally.done == ["before", "before"]


async def test_human_in_the_loop_of_langchain(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    sim = provide(Reply("", tools=[("send", {"to": "x"})]), "Sent.")

    @tool
    async def send(to: str) -> str:
        """Sends."""
        tally.done.append(f"send {to}")
        return "sent"

    middleware = HumanInTheLoopMiddleware(interrupt_on={"send": True})
    app = App()
    app.add(create_agent(claude(), [send], middleware=[middleware]), name="mail", park_after=0)
    await ground.begin(app)
    run = await ground.start("mail", "Write to x")
    await ground.until(run, "waiting")
    (asked,) = await questions(ground, run)
    assert asked["value"]["action_requests"][0]["name"] == "send"
    assert tally.done == []
    await ground.stop()
    await answer(ground, run, {"decisions": [{"type": "approve"}]}, f"resume:{asked['id']}")
    await ground.begin(app)
    await ground.result(run)
    assert tally.done == ["send x"]
    assert sim.counts().answered == 2
    assert not sim.counts().repeated


@pytest.mark.parametrize("kept", [False, True])
async def test_a_breakpoint_waits_too(
    ground: Ground, tally: Tally, tmp_path: Path, kept: bool
) -> None:
    async def act(state: State) -> State:
        tally.done.append("act")
        return {"found": ["acted"]}

    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "c.db")) as saver:
        app = App()
        graph = one_node(act, interrupt_before=["human"], checkpointer=saver if kept else None)
        app.add(graph, name="stops", park_after=0)
        await ground.begin(app)
        run = await ground.start("stops", {"found": []})
        await ground.until(run, "waiting")
        assert tally.done == []
        await ground.stop()
        await ground.begin(app)
        await answer(ground, run, None)
        result = await ground.result(run)
    assert result["found"] == ["acted"]
    assert tally.done == ["act"]
    assert [q["breakpoint"] for q in await questions(ground, run)] == [True]


async def test_a_synchronous_graph_asks_from_its_thread(ground: Ground, tmp_path: Path) -> None:
    from langgraph.checkpoint.sqlite import SqliteSaver

    def human(state: State) -> State:
        return {"found": [interrupt("sync?")]}

    with SqliteSaver.from_conn_string(str(tmp_path / "c.db")) as saver:
        app = App()
        app.add(one_node(human, checkpointer=saver), name="threads", park_after=0)
        await ground.begin(app)
        run = await ground.start("threads", {"found": []})
        await ground.until(run, "waiting")
        await ground.stop()
        await answer(ground, run, "yes")
        await ground.begin(app)
        assert (await ground.result(run))["found"] == ["yes"]


@pytest.mark.parametrize("inside", ["", "a node", "a function"])
async def test_a_synchronous_task_asks_the_same_until_the_answer_will_do(
    ground: Ground, tmp_path: Path, inside: str
) -> None:
    """Older versions of LangGraph give all questions of a task one id (see rounds.py)."""
    from langgraph.checkpoint.sqlite import SqliteSaver

    def human(state: State) -> State:
        answers = [interrupt("age?")]
        while not isinstance(answers[-1], int):
            answers.append(interrupt("age?"))
        return {"found": answers}

    inner = [one_node(human)]  # in a list LangGraph does not see that a function calls it

    def calling(state: State) -> Any:
        assert interrupt("go?") == "go"
        return inner[0].invoke({"found": []})

    node = {"": human, "a node": inner[0], "a function": calling}[inside]
    with SqliteSaver.from_conn_string(str(tmp_path / "c.db")) as saver:
        app = App()
        app.add(one_node(node, checkpointer=saver), name="threads", park_after=0)
        await ground.begin(app)
        run = await ground.start("threads", {"found": []})
        before = ["go"] if node is calling else []
        for n, given in enumerate((*before, "old", "none of yours", 42), start=1):
            await ground.asked(run, n)
            await ground.until(run, "waiting")
            asked = (await questions(ground, run))[n - 1]
            await ground.stop()
            await answer(ground, run, given, f"resume:{asked['id']}")
            await ground.begin(app)
        assert (await ground.result(run))["found"] == ["old", "none of yours", 42]
    assert len({asked["id"] for asked in await questions(ground, run)}) == len(before) + 3
    assert await ground.warnings(run) == []


async def test_without_any_checkpointer_at_all_it_says_what_to_do(ground: Ground) -> None:
    def human(state: State) -> State:
        return {"found": [interrupt("?")]}

    app = App()
    app.add(one_node(human, checkpointer=False), name="none")
    await ground.begin(app)
    run = await ground.until(await ground.start("none", {"found": []}))
    assert run.state == "failed"
    assert "checkpointer" in (run.error or {})["message"]


async def test_a_large_answer_comes_from_the_large_values(ground: Ground) -> None:
    async def human(state: State) -> State:
        return {"found": [len(interrupt("?"))]}

    app = App()
    app.add(one_node(human), name="ask", park_after=0)
    await ground.begin(app)
    run = await ground.start("ask", {"found": []})
    await ground.until(run, "waiting")
    await ground.store.signal(run, "resume", ground.blobs.put(b'"' + b"x" * 300_000 + b'"'))
    assert (await ground.result(run))["found"] == [300_000]
