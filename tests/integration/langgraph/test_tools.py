"""Tool calls are effects, wherever in a graph they are made and however LangChain nests them."""

from __future__ import annotations

import operator
from datetime import timedelta
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ToolCallRequest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import (
    BaseTool,
    InjectedToolArg,
    InjectedToolCallId,
    StructuredTool,
    ToolException,
    tool,
)
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import InjectedState, ToolNode, ToolRuntime
from langgraph.types import Command
from typing_extensions import TypedDict

import perdure
from perdure.app import App
from perdure.errors import ConfigError
from perdure.frameworks import langgraph
from perdure.testing.simulator import Reply
from tests.integration.langgraph.conftest import Provide, Tally, claude
from tests.integration.stage import tool_entries
from tests.running import Ground


class State(TypedDict, total=False):
    messages: Annotated[list[Any], add_messages]
    found: Annotated[list[Any], operator.add]


def calling(*calls: tuple[str, dict[str, Any]]) -> Any:
    """A node that plays the model: it asks for these tools."""

    def ask(state: State) -> State:
        wanted = [
            {"name": name, "args": args, "id": f"call_{i}", "type": "tool_call"}
            for i, (name, args) in enumerate(calls)
        ]
        return {"messages": [AIMessage("", tool_calls=wanted)]}

    return ask


def tool_graph(tools: Any, *calls: tuple[str, dict[str, Any]], after: Any = None) -> Any:
    graph = StateGraph(State)
    graph.add_node("ask", calling(*calls))
    graph.add_node("tools", tools if isinstance(tools, ToolNode) else ToolNode(tools))
    graph.add_edge(START, "ask")
    graph.add_edge("ask", "tools")
    if after is not None:
        graph.add_node("after", after)
        graph.add_edge("tools", "after")
    return graph.compile()


def holding(tally: Tally) -> Any:
    """A node that stands still, so that a worker can be stopped after the tools."""

    async def after(state: State) -> State:
        await tally.note("after")
        return {}

    return after


async def replayed(ground: Ground, app: App, tally: Tally, agent: str, value: Any) -> Any:
    """The result of a run whose first worker was stopped in the node ``after``."""
    tally.hold("after")
    await ground.begin(app)
    run = await ground.start(agent, value)
    await tally.reached("after")
    await ground.stop()
    tally.release("after")
    await ground.begin(app)
    return run, await ground.result(run)


async def test_every_way_to_call_a_tool_is_one_effect(ground: Ground, tally: Tally) -> None:
    @tool
    def plain(x: int) -> int:
        """Sync."""
        tally.note_sync("plain")
        return x

    @tool
    async def asynchronous(x: int) -> int:
        """Async."""
        tally.done.append("asynchronous")
        return x

    class Classic(BaseTool):
        name: str = "classic"
        description: str = "Only _run."

        def _run(self, x: int) -> int:
            tally.done.append("classic")
            return x

    class Both(BaseTool):
        name: str = "both"
        description: str = "_arun calls _run, as many tools of LangChain's community do."

        def _run(self, x: int) -> int:
            tally.done.append("both")
            return x

        async def _arun(self, x: int) -> int:
            return self._run(x)

    class Runs(Both):
        name: str = "runs"

        async def _arun(self, x: int) -> int:
            return int(await super()._arun(x))

    async def node(state: State) -> State:
        tools: list[BaseTool] = [plain, asynchronous, Classic(), Both(), Runs()]
        return {"found": [await t.ainvoke({"x": i}) for i, t in enumerate(tools)]}

    def sync_node(state: State) -> State:
        tools: list[BaseTool] = [plain, Classic(), Both()]
        return {"found": [t.invoke({"x": i}) for i, t in enumerate(tools)]}

    graph = StateGraph(State)
    graph.add_node("node", node)
    graph.add_node("sync_node", sync_node)
    graph.add_node("after", holding(tally))
    graph.add_edge(START, "node")
    graph.add_edge("node", "sync_node")
    graph.add_edge("sync_node", "after")
    app = App()
    app.add(graph, name="ways")
    run, result = await replayed(ground, app, tally, "ways", {"found": []})
    assert result["found"] == [0, 1, 2, 3, 4, 0, 1, 2]
    entries = await tool_entries(ground, run)
    assert [(e.name, e.branch) for e in entries] == [
        ("plain", "graph#1/node"),
        ("asynchronous", "graph#1/node/0"),
        ("classic", "graph#1/node/1"),
        ("both", "graph#1/node/2"),
        ("runs", "graph#1/node/3"),
        ("plain", "graph#2/sync_node"),
        ("classic", "graph#2/sync_node"),
        ("both", "graph#2/sync_node"),
    ]
    assert len([d for d in tally.done if d != "after"]) == 8


async def test_what_is_injected_is_not_in_the_digest(ground: Ground, tally: Tally) -> None:
    seen: list[Any] = []

    @tool
    def wired(
        q: str,
        state: Annotated[dict[str, Any], InjectedState],
        call: Annotated[str, InjectedToolCallId],
        runtime: ToolRuntime,
        config: RunnableConfig,
        user: Annotated[str, InjectedToolArg] = "nobody",
    ) -> str:
        """Takes everything that can be injected."""
        seen.append((sorted(state), call, runtime.tool_call_id, bool(config), user))
        return q

    @tool
    def bare(q: str) -> str:
        """Takes what the model gives."""
        return q

    app = App()
    calls = ("wired", {"q": "x"}), ("bare", {"q": "x"})
    app.add(tool_graph([wired, bare], *calls, after=holding(tally)), name="wired")
    run, result = await replayed(ground, app, tally, "wired", {"messages": []})
    entries = {e.name: e for e in await tool_entries(ground, run)}
    assert entries["wired"].digest == entries["bare"].digest
    assert seen == [(["found", "messages"], "call_0", "call_0", True, "nobody")]
    assert [m["content"] for m in result["messages"][1:]] == ["x", "x"]


async def test_what_tools_return_is_the_same_live_and_replayed(
    ground: Ground, tally: Tally
) -> None:
    @tool
    def update(x: int, call: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Changes the state."""
        tally.done.append("update")
        said = ToolMessage("updated", tool_call_id=call, artifact={"x": (1, x)})
        return Command(update={"messages": [said], "found": [x]})

    @tool(response_format="content_and_artifact")
    def chart(x: int) -> tuple[str, dict[str, int]]:
        """Draws."""
        tally.done.append("chart")
        return "a chart", {"points": x}

    @tool
    def odd(x: int) -> Any:
        """Returns what only LangChain can make text of."""
        tally.done.append("odd")
        return complex(x, 1)

    app = App()
    calls = [(name, {"x": i}) for i, name in enumerate(("update", "chart", "odd"))]
    app.add(tool_graph([update, chart, odd], *calls, after=holding(tally)), name="returns")
    _, result = await replayed(ground, app, tally, "returns", {"messages": []})
    said = {m["tool_call_id"]: m for m in result["messages"] if m["type"] == "tool"}
    assert {k: m["content"] for k, m in said.items()} == {
        "call_0": "updated", "call_1": "a chart", "call_2": "(2+1j)",
    }  # fmt: skip
    assert said["call_0"]["artifact"] == {"x": [1, 0]}
    assert said["call_1"]["artifact"] == {"points": 1}
    assert result["found"] == [0]
    assert sorted(d for d in tally.done if d != "after") == ["chart", "odd", "update"]


async def test_a_failure_is_replayed_as_what_it_was(ground: Ground, tally: Tally) -> None:
    kinds: list[str] = []

    @tool
    def picky(x: int) -> str:
        """Refuses."""
        tally.done.append("picky")
        raise ToolException(f"not {x}")

    @tool
    async def broken(x: int) -> str:
        """Breaks."""
        tally.done.append("broken")
        raise LookupError(f"no {x}")

    def explain(error: Exception) -> str:
        kinds.append(type(error).__name__)
        return f"{type(error).__name__}: {error}"

    node = ToolNode([picky, broken], handle_tool_errors=explain)
    app = App()
    calls = ("picky", {"x": 1}), ("broken", {"x": 2})
    app.add(tool_graph(node, *calls, after=holding(tally)), name="fails")
    _, result = await replayed(ground, app, tally, "fails", {"messages": []})
    # Nobody asked for anything after the failures: they are tried again (F1).
    assert tally.count("picky") == 2

    @perdure.step
    async def go_on() -> None:
        pass

    async def after(state: State) -> State:
        await go_on()
        await tally.note("after")
        return {}

    tally.done.clear()
    app.add(tool_graph(node, *calls, after=after), name="goes-on")
    await ground.stop()
    _, result = await replayed(ground, app, tally, "goes-on", {"messages": []})
    assert [m["content"] for m in result["messages"][1:]] == [
        "ToolException: not 1",
        "LookupError: no 2",
    ]
    assert sorted(d for d in tally.done if d != "after") == ["broken", "picky"]


async def test_bad_arguments_of_the_model_are_no_effect(ground: Ground, tally: Tally) -> None:
    @tool
    def pay(amount: int) -> str:
        """Pays."""
        tally.done.append("pay")
        return "paid"

    app = App()
    graph = tool_graph([pay], ("pay", {"amount": "a lot"}), ("pay", {"amount": 3}))
    app.add(graph, name="payer", tools={"pay": "once"})
    await ground.begin(app)
    run = await ground.start("payer", {"messages": []})
    result = await ground.result(run)
    assert [m["status"] for m in result["messages"][1:]] == ["error", "success"]
    assert [e.promise for e in await tool_entries(ground, run)] == ["once"]


async def test_a_once_tool_that_was_cut_asks_reconcile(ground: Ground, tally: Tally) -> None:
    asked: list[Any] = []

    @tool
    async def refund(order: str, runtime: ToolRuntime, cents: int = 100) -> str:
        """Pays back."""
        await tally.note("refund")
        return f"refunded {order}"

    def look(order: str, cents: int) -> str:
        asked.append((order, cents))
        return f"found {order}"

    app = App()
    app.add(
        tool_graph([refund], ("refund", {"order": "o1"})),
        name="shop",
        tools={"refund": perdure.once(reconcile=look, timeout=timedelta(seconds=0.05))},
    )
    tally.hold("refund")
    await ground.begin(app)
    run = await ground.start("shop", {"messages": []})
    await tally.reached("refund")
    await ground.stop()
    tally.release("refund")
    ground.store.shift_clock(timedelta(seconds=10))
    await ground.begin(app)
    result = await ground.result(run)
    assert result["messages"][-1]["content"] == "found o1"
    assert asked == [("o1", 100)]
    assert tally.count("refund") == 1


async def test_a_once_tool_that_fails_is_uncertain(ground: Ground, tally: Tally) -> None:
    @tool
    async def send(to: str) -> str:
        """Sends."""
        tally.done.append("send")
        raise ConnectionError("cut off")

    app = App()
    graph = tool_graph(ToolNode([send], handle_tool_errors=True), ("send", {"to": "x"}))
    app.add(graph, name="mail", tools={"send": "once"})
    await ground.begin(app)
    run = await ground.start("mail", {"messages": []})
    waiting = await ground.until(run, "waiting")
    assert [wait["reason"] for wait in waiting.waits] == ["uncertain"]
    assert tally.done == ["send"]


def test_a_promise_for_a_tool_that_is_not_there_is_refused(provide: Provide) -> None:
    @tool
    def search(q: str) -> str:
        """Searches."""
        return q

    def node(state: State) -> State:
        return {"found": [search.invoke({"q": "x"})]}

    own = StateGraph(State)
    own.add_node("node", node)
    own.add_edge(START, "node")
    agent = create_agent(claude(), [search])
    for graph in (own, agent, tool_graph([search])):
        with pytest.raises(ConfigError, match="no tool 'serach'") as caught:
            App().add(graph, name="a", tools={"serach": "reads"})
        assert caught.value.hint == "Its tools: search"
        App().add(graph, name="a", tools={"search": "reads"})
        with pytest.raises(ConfigError, match="'never'"):
            App().add(graph, name="a", tools={"search": "never"})


async def test_mcp_hints_are_promises(ground: Ground) -> None:
    def look(x: int) -> int:
        """Looks."""
        return x

    tools = [
        StructuredTool.from_function(look, name=name, metadata=hints)
        for name, hints in {
            "reader": {"readOnlyHint": True},
            "setter": {"readOnlyHint": False, "idempotentHint": True},
            "other": {"readOnlyHint": False},
        }.items()
    ]
    app = App()
    app.add(tool_graph(tools, *[(t.name, {"x": 1}) for t in tools]), name="mcp")
    await ground.begin(app)
    run = await ground.start("mcp", {"messages": []})
    await ground.result(run)
    promises = {e.name: e.promise for e in await tool_entries(ground, run)}
    assert promises == {"reader": "reads", "setter": "idempotent", "other": "undeclared"}


async def test_a_function_that_is_an_effect_already_stays_one_effect(
    ground: Ground, tally: Tally
) -> None:
    @tool
    @perdure.tool(name="mine", effect="reads")
    async def mine(x: int) -> int:
        """Mine."""
        tally.done.append("mine")
        return x

    app = App()
    app.add(tool_graph([mine], ("mine", {"x": 1}), after=holding(tally)), name="own")
    run, _ = await replayed(ground, app, tally, "own", {"messages": []})
    assert [(e.name, e.promise) for e in await tool_entries(ground, run)] == [("mine", "reads")]
    assert tally.count("mine") == 1


async def test_tools_that_a_middleware_wraps_or_adds(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    @tool
    async def hidden(x: int) -> str:
        """Added at run time."""
        tally.done.append("hidden")
        return "hidden"

    @tool
    async def flaky(x: int) -> str:
        """Fails once."""
        tally.done.append("flaky")
        if tally.count("flaky") == 1:
            raise ConnectionError("once")
        return "steady"

    class Wrap(AgentMiddleware):
        async def awrap_tool_call(self, request: ToolCallRequest, handler: Any) -> Any:
            if request.tool is None:
                return await handler(request.override(tool=hidden))
            try:
                return await handler(request)
            except ConnectionError:
                return await handler(request)

    sim = provide(Reply("", tools=[("hidden", {"x": 1}), ("flaky", {"x": 2})]), "Done.")
    app = App()
    agent = create_agent(claude(), [flaky], middleware=[Wrap()])
    app.add(agent, name="wrapped")
    sim.hold()
    await ground.begin(app)
    run = await ground.start("wrapped", "go")
    await sim.wait(held=1)
    sim.release(1)
    await sim.wait(held=1, started=2)
    await ground.stop()
    sim.release()
    await ground.begin(app)
    result = await ground.result(run)
    said = [m["content"] for m in result["messages"] if m["type"] == "tool"]
    assert said == ["hidden", "steady"]
    assert sorted(tally.done) == ["flaky", "flaky", "hidden"]


async def test_a_sync_tool_on_the_event_loop_is_a_clear_failure(ground: Ground) -> None:
    @tool
    def blocking(x: int) -> int:
        """Blocks."""
        return x

    async def node(state: State) -> State:
        return {"found": [blocking.invoke({"x": 1})]}

    graph = StateGraph(State)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    app = App()
    app.add(graph, name="blocks")
    await ground.begin(app)
    run = await ground.until(await ground.start("blocks", {"found": []}))
    assert run.state == "failed"
    assert "ainvoke" in (run.error or {})["hint"]


async def test_outside_a_run_and_uninstalled_tools_are_what_they_were(
    ground: Ground, tally: Tally
) -> None:
    @tool
    def mine(x: int) -> int:
        """Mine."""
        tally.done.append("mine")
        return x

    app = App()
    app.add(tool_graph([mine], ("mine", {"x": 1})), name="off")
    assert langgraph.installed()
    assert mine.invoke({"x": 3}) == 3
    langgraph.uninstall()
    try:
        assert not langgraph.installed()
        await ground.begin(app)
        run = await ground.start("off", {"messages": []})
        await ground.result(run)
        assert await tool_entries(ground, run) == []
    finally:
        langgraph.install()
    assert tally.count("mine") == 2
