"""Graphs of every shape: a worker that goes away in the middle costs no finished work."""

from __future__ import annotations

import asyncio
import operator
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import CachePolicy, Command, RetryPolicy, Send
from pydantic import BaseModel
from typing_extensions import TypedDict

from perdure.app import App
from perdure.errors import InvalidInput, TargetError
from perdure.testing.simulator import Reply
from tests.integration.langgraph.conftest import Provide, Tally, claude
from tests.running import Ground


class State(TypedDict, total=False):
    found: Annotated[list[Any], operator.add]
    item: str


@pytest.fixture
def work(tally: Tally) -> Any:
    @tool
    async def work(what: str) -> str:
        """Works."""
        await tally.note(what)
        return what.upper()

    return work


@pytest.fixture
def work_sync(tally: Tally) -> Any:
    @tool
    def work_sync(what: str) -> str:
        """Works in a thread."""
        tally.note_sync(what)
        return what.upper()

    return work_sync


def node(work: Any, *what: str) -> Any:
    async def run(state: State) -> State:
        return {"found": [await work.ainvoke({"what": w}) for w in what or [state["item"]]]}

    return run


def sync_node(work: Any, *what: str) -> Any:
    def run(state: State) -> State:
        return {"found": [work.invoke({"what": w}) for w in what or [state["item"]]]}

    return run


def chain(**nodes: Any) -> Any:
    graph = StateGraph(State)
    before = START
    for name, run in nodes.items():
        graph.add_node(name, run)
        graph.add_edge(before, name)
        before = name
    return graph


async def stopped_at(
    ground: Ground, app: App, tally: Tally, held: str, *others: str, value: Any = None
) -> Any:
    """The result of a run whose worker was stopped in the middle of ``held``, when the ``others``
    were recorded."""
    (agent,) = app.agents
    tally.hold(held)
    await ground.begin(app)
    run = await ground.start(agent, {"found": []} if value is None else value)
    await tally.reached(held)
    await ground.tools_done(run, len(others))
    await ground.stop()
    tally.release(held)
    await ground.begin(app)
    result = await ground.result(run)
    for other in others:
        assert tally.count(other) == 1, tally.done
    assert tally.count(held) == 2
    return result


async def test_parallel_nodes(ground: Ground, tally: Tally, work: Any, work_sync: Any) -> None:
    graph = StateGraph(State)
    graph.add_node("one", node(work, "a", "b"))
    graph.add_node("two", sync_node(work_sync, "c"))
    graph.add_node("three", node(work, "d"))
    for name in ("one", "two", "three"):
        graph.add_edge(START, name)
    app = App()
    app.add(graph, name="fan")
    result = await stopped_at(ground, app, tally, "b", "a", "c", "d")
    assert sorted(result["found"]) == ["A", "B", "C", "D"]


async def test_sends(ground: Ground, tally: Tally, work: Any) -> None:
    graph = StateGraph(State)
    graph.add_node("each", node(work))
    graph.add_node("join", node(work, "join"))
    graph.add_conditional_edges(START, lambda _: [Send("each", {"item": i}) for i in "abca"])
    graph.add_edge("each", "join")
    app = App()
    app.add(graph, name="map")
    tally.hold("join")
    await ground.begin(app)
    run = await ground.start("map", {"found": []})
    await tally.reached("join")
    await ground.stop()
    tally.release("join")
    await ground.begin(app)
    result = await ground.result(run)
    assert result["found"] == ["A", "B", "C", "A", "JOIN"]
    assert sorted(tally.done) == ["a", "a", "b", "c", "join", "join"]


async def test_a_subgraph_as_a_node(ground: Ground, tally: Tally, work: Any) -> None:
    inner = chain(x=node(work, "x"), y=node(work, "y"))
    app = App()
    app.add(chain(before=node(work, "a"), inner=inner.compile(), last=node(work, "z")), name="sub")
    result = await stopped_at(ground, app, tally, "y", "a", "x")
    assert result["found"] == ["A", "A", "X", "Y", "Z"]


@pytest.mark.parametrize("held", ["x2", "y1"])
async def test_subgraphs_that_a_node_runs_at_once(
    ground: Ground, tally: Tally, work: Any, held: str
) -> None:
    async def one(state: State) -> State:
        return {"found": [await work.ainvoke({"what": f"x{state['item']}"})]}

    async def two(state: State) -> State:
        return {"found": [await work.ainvoke({"what": f"y{state['item']}"})]}

    inner = chain(x=one, y=two).compile()

    async def both(state: State) -> State:
        results = await asyncio.gather(
            *(inner.ainvoke({"found": [], "item": item}) for item in ("1", "2"))
        )
        return {"found": [f for result in results for f in result["found"]]}

    app = App()
    app.add(chain(both=both), name="two")
    others = {"x2": ["x1", "y1"], "y1": ["x1", "x2", "y2"]}[held]
    result = await stopped_at(ground, app, tally, held, *others)
    assert result["found"] == ["X1", "Y1", "X2", "Y2"]


async def test_agents_as_tools_of_an_agent(
    ground: Ground, provide: Provide, tally: Tally, work: Any
) -> None:
    """Two agents at once inside the tools of a third: their own calls are inside those effects."""
    sim = provide(Reply("", tools=[("work", {"what": "one"}), ("work", {"what": "two"})]), "helped")
    helper: Any = create_agent(claude(), [work])

    @tool
    async def delegate(topic: str) -> str:
        """Asks a helper."""
        answer = await helper.ainvoke({"messages": [("user", topic)]})
        return f"{topic}: {answer['messages'][-1].text}"

    async def both(state: State) -> State:
        calls = [{"topic": t} for t in ("sea", "moon")]
        return {"found": list(await asyncio.gather(*(delegate.ainvoke(c) for c in calls)))}

    app = App()
    app.add(chain(both=both), name="boss")
    tally.hold("two")
    await ground.begin(app)
    run = await ground.start("boss", {"found": []})
    await tally.reached("two")
    await ground.recorded(run, "work", 2)
    await ground.stop()
    first = tally.count("one")
    tally.release("two")
    await ground.begin(app)
    result = await ground.result(run)
    assert result["found"] == ["sea: helped", "moon: helped"]
    assert tally.count("one") == first == 2
    assert sim.counts().answered == 4
    assert not sim.counts().repeated


async def test_the_functional_api(ground: Ground, tally: Tally, work: Any) -> None:
    @task
    async def step(what: str) -> str:
        return str(await work.ainvoke({"what": what}))

    @entrypoint()
    async def flow(names: list[str]) -> dict[str, Any]:
        first = await asyncio.gather(*(step(name) for name in names))
        return {"first": first, "last": await step("last")}

    app = App()
    app.add(flow, name="flow")
    result = await stopped_at(ground, app, tally, "last", "a", "b", value=["a", "b"])
    assert result == {"first": ["A", "B"], "last": "LAST"}


async def test_a_node_that_is_retried_repeats_no_tool_after_a_crash(
    ground: Ground, tally: Tally, work: Any
) -> None:
    async def flaky(state: State) -> State:
        found = [await work.ainvoke({"what": "a"})]
        tally.done.append("try")
        if tally.count("try") == 1:
            raise ConnectionError("the first time")
        return {"found": [*found, await work.ainvoke({"what": "b"})]}

    graph = StateGraph(State)
    policy = RetryPolicy(initial_interval=0.01, jitter=False)
    graph.add_node("flaky", flaky, retry_policy=policy)
    graph.add_edge(START, "flaky")
    app = App()
    app.add(graph, name="retried")
    tally.hold("b")
    await ground.begin(app)
    run = await ground.start("retried", {"found": []})
    await tally.reached("b")
    assert tally.count("a") == 2  # LangGraph runs the node from its first line
    await ground.stop()
    tally.release("b")
    await ground.begin(app)
    assert (await ground.result(run))["found"] == ["A", "B"]
    assert tally.count("a") == 2


async def test_a_cached_node_is_not_wrong(ground: Ground, tally: Tally, work: Any) -> None:
    graph = StateGraph(State)
    graph.add_node("cached", node(work, "a"), cache_policy=CachePolicy())
    graph.add_node("last", node(work, "z"))
    graph.add_edge(START, "cached")
    graph.add_edge("cached", "last")
    app = App()
    app.add(graph.compile(cache=InMemoryCache()), name="cached")
    result = await stopped_at(ground, app, tally, "z", "a")
    assert result["found"] == ["A", "Z"]
    run = await ground.start("cached", {"found": []})
    assert (await ground.result(run))["found"] == ["A", "Z"]
    assert tally.count("a") == 1


async def test_commands_that_go_to_nodes(ground: Ground, tally: Tally, work: Any) -> None:
    async def choose(state: State) -> Command[Any]:
        return Command(update={"found": [await work.ainvoke({"what": "a"})]}, goto="target")

    graph = StateGraph(State)
    graph.add_node("choose", choose, destinations=("target",))
    graph.add_node("target", node(work, "b"))
    graph.add_edge(START, "choose")
    app = App()
    app.add(graph, name="goto")
    result = await stopped_at(ground, app, tally, "b", "a")
    assert result["found"] == ["A", "B"]


async def test_a_synchronous_checkpointer_runs_in_threads(
    ground: Ground, tally: Tally, work_sync: Any, tmp_path: Path
) -> None:
    with SqliteSaver.from_conn_string(str(tmp_path / "checkpoints.db")) as saver:
        graph = StateGraph(State)
        graph.add_node("one", sync_node(work_sync, "a"))
        graph.add_node("two", sync_node(work_sync, "b"))
        graph.add_node("last", sync_node(work_sync, "z"))
        graph.add_edge(START, "one")
        graph.add_edge(START, "two")
        graph.add_edge(["one", "two"], "last")
        app = App()
        handle = app.add(graph.compile(checkpointer=saver), name="threads")
        assert handle.agent.sync
        result = await stopped_at(ground, app, tally, "z", "a", "b")
    assert result["found"] == ["A", "B", "Z"]


async def test_a_middleware_without_an_asynchronous_form_runs_in_threads(
    ground: Ground, provide: Provide, tally: Tally, work_sync: Any
) -> None:
    @wrap_model_call
    def note(request: Any, handler: Any) -> Any:
        tally.done.append("wrapped")
        return handler(request)

    sim = provide(Reply("", tools=[("work_sync", {"what": "a"})]), "Done.")
    app = App()
    handle = app.add(create_agent(claude(), [work_sync], middleware=[note]), name="sync")
    assert handle.agent.sync
    tally.hold("a")
    await ground.begin(app)
    run = await ground.start("sync", "go")
    await tally.reached("a")
    await ground.stop()
    tally.release("a")
    await ground.begin(app)
    result = await ground.result(run)
    assert "Done." in str(result["messages"][-1]["content"])
    assert not sim.counts().repeated
    assert tally.count("wrapped") == 3  # twice, and once more where the answer was recorded


class Topic(BaseModel):
    name: str
    tags: set[str] = set()


class Model(BaseModel):
    topic: Topic
    notes: Annotated[list[Topic], operator.add] = []


async def test_state_of_pydantic_models(ground: Ground) -> None:
    def read(state: Model) -> dict[str, Any]:
        return {"notes": [Topic(name=state.topic.name.upper(), tags={"b", "a"})]}

    graph = StateGraph(Model)
    graph.add_node("read", read)
    graph.add_edge(START, "read")
    app = App()
    handle = app.add(graph, name="typed")
    await ground.begin(app)
    run = await ground.start("typed", {"topic": {"name": "sea"}})
    assert await ground.result(run) == {
        "topic": {"name": "sea"},
        "notes": [{"name": "SEA", "tags": ["a", "b"]}],
    }
    assert handle.agent.schema is not None
    schema = handle.agent.schema()
    assert schema is not None
    assert "topic" in schema["properties"]


async def test_what_json_cannot_hold_is_named_in_the_result(ground: Ground) -> None:
    def keep(state: State) -> State:
        return {"found": [object()]}

    app = App()
    app.add(chain(keep=keep), name="odd")
    await ground.begin(app)
    run = await ground.start("odd", {"found": []})
    assert await ground.result(run) == {"found": [{"unserializable": "builtins.object"}]}
    assert await ground.warnings(run) == ["unserializable"]


async def test_a_graph_that_never_ends_fails_at_once(ground: Ground) -> None:
    graph = StateGraph(State)
    graph.add_node("loop", lambda state: {"found": [1]})
    graph.add_edge(START, "loop")
    graph.add_edge("loop", "loop")
    app = App()
    app.add(graph.compile().with_config(recursion_limit=5), name="loop")
    await ground.begin(app)
    run = await ground.until(await ground.start("loop", {"found": []}))
    assert run.state == "failed"
    assert "GraphRecursionError" in (run.error or {})["type"]


async def test_inputs_are_refused_before_a_run_is_made(provide: Provide) -> None:
    app = App()
    chat = app.add(create_agent(claude(), []), name="chat").agent
    own = app.add(chain(a=lambda state: {}), name="own").agent
    chat.validate(b'"hello"')
    chat.validate(b'{"messages": []}')
    own.validate(b'{"item": "x"}')
    for agent, data in ((chat, b'{"message": []}'), (own, b'"hello"'), (own, b"null")):
        with pytest.raises(InvalidInput):
            agent.validate(data)
    with pytest.raises(TargetError, match="no graph"):
        App().add(Send("a", 1), name="no")
