"""Names of places in graphs (K3): the same in every run, whatever ids LangGraph gives."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Send
from typing_extensions import TypedDict

from perdure.core.branch import continues
from perdure.frameworks.langgraph.places import Asked, Places, asked, here, part, places


class State(TypedDict, total=False):
    names: Annotated[list[str], operator.add]


@pytest.fixture(autouse=True)
def known() -> Iterator[Places]:
    known = Places()
    token = places.set(known)
    yield known
    places.reset(token)


def note(state: State) -> State:
    return {"names": [str(here())]}


async def anote(state: State) -> State:
    return {"names": [str(here())]}


def inner() -> Any:
    graph = StateGraph(State)
    graph.add_node("first", note)
    graph.add_node("then", anote)
    graph.add_edge(START, "first")
    graph.add_edge("first", "then")
    return graph.compile()


async def names(graph: Any, known: Places, **config: Any) -> list[str]:
    result = await graph.ainvoke({"names": []}, {"callbacks": [known], **config})
    return sorted(set(result["names"]))


async def test_nodes_and_supersteps(known: Places) -> None:
    graph = StateGraph(State)
    graph.add_node("a/b#c", note)
    graph.add_node("7", anote)
    graph.add_edge(START, "a/b#c")
    graph.add_edge("a/b#c", "7")
    assert await names(graph.compile(), known) == ["graph#1/a%2Fb%23c", "graph#2/7."]


async def test_fan_out_and_sends(known: Places) -> None:
    graph = StateGraph(State)
    graph.add_node("work", note)
    graph.add_node("other", anote)
    graph.add_conditional_edges(START, lambda _: [Send("work", {}), Send("work", {}), "other"])
    expected = ["graph#1/other", "graph#1/work.0", "graph#1/work.1"]
    assert await names(graph.compile(), known) == expected


async def test_subgraphs_as_nodes_and_inside_nodes(known: Places) -> None:
    sub = inner()

    async def calls(state: State) -> State:
        one = await sub.ainvoke({"names": []})
        two = await sub.ainvoke({"names": []})
        return {"names": one["names"] + two["names"]}

    graph = StateGraph(State)
    graph.add_node("sub", sub)
    graph.add_node("calls", calls)
    graph.add_edge(START, "sub")
    graph.add_edge("sub", "calls")
    found = await names(graph.compile(), known)
    assert found == [
        "graph#1/sub/graph#1/first",
        "graph#1/sub/graph#2/then",
        "graph#2/calls/1/graph#1/first",
        "graph#2/calls/1/graph#2/then",
        "graph#2/calls/graph#1/first",
        "graph#2/calls/graph#2/then",
    ]
    assert continues(found[1], found[0])
    assert continues(found[2], found[1])
    assert not continues(found[0], found[1])


async def test_tasks_of_the_functional_api(known: Places) -> None:
    found: list[str] = []

    @task
    async def work(n: int) -> int:
        found.append(str(here()))
        return n

    @entrypoint()
    async def flow(n: int) -> int:
        found.append(str(here()))
        return sum(await asyncio.gather(work(1), work(2)))

    await flow.ainvoke(1, {"callbacks": [known]})
    base = "graph#0/flow"
    assert sorted(found) == [base, f"{base}/graph#0/work.0", f"{base}/graph#0/work.1"]


async def test_supersteps_go_on_from_a_checkpoint(known: Places) -> None:
    graph = StateGraph(State)
    graph.add_node("only", note)
    graph.add_edge(START, "only")
    compiled: Any = graph.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    assert await names(compiled, known, **config) == ["graph#1/only"]
    assert await names(compiled, known, **config) == ["graph#1/only", "graph#4/only"]


async def test_a_tool_call_is_a_branch_and_its_body_a_scope(known: Places) -> None:
    sub, found = inner(), []

    async def node(state: State) -> State:
        call = Asked("tool", {}, "call_1", inside=False)
        token = asked.set(call)
        found.append(here())
        asked.set(call.entered())
        found.append(here())
        result = await sub.ainvoke({"names": []})
        again = await sub.ainvoke({"names": []})
        asked.reset(token)
        found.extend(result["names"] + again["names"])
        found.append(here())
        return {}

    graph = StateGraph(State)
    graph.add_node("tools", node)
    graph.add_edge(START, "tools")
    await graph.compile().ainvoke({}, {"callbacks": [known]})
    assert found == [
        "graph#1/tools/call_1",
        None,
        "graph#1/first",
        "graph#2/then",
        "1/graph#1/first",
        "1/graph#2/then",
        "graph#1/tools",
    ]


def test_the_part_of_a_task() -> None:
    assert part(3, "agent", ("__pregel_pull", "agent")) == "graph#3/agent"
    assert part(3, "agent", ("__pregel_push", 1, False)) == "graph#3/agent.1"
    assert part(0, "t", ("__pregel_push", ("__pregel_pull", "f"), 2, True)) == "graph#0/t.2"


def test_outside_a_graph_there_is_no_name() -> None:
    assert here() is None
