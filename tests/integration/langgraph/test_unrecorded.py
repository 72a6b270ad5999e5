"""Agents with ``durability="none"``: the graph as its own program would call it."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from perdure.app import App
from perdure.errors import UsageError
from perdure.server import direct


class State(TypedDict, total=False):
    found: Annotated[list[Any], operator.add]


def graph(node: Any, **compile: Any) -> Any:
    made = StateGraph(State)
    made.add_node("node", node)
    made.add_edge(START, "node")
    return made.compile(**compile)


@tool
def double(x: int) -> int:
    """Doubles."""
    return 2 * x


async def test_tools_are_what_langchain_made_them(tmp_path: Path) -> None:
    def node(state: State) -> State:
        return {"found": [double.invoke({"x": 2}), {1}]}

    with SqliteSaver.from_conn_string(str(tmp_path / "c.db")) as saver:
        for kept in (None, saver):
            app = App()
            agent = app.add(graph(node, checkpointer=kept), name="quick", durability="none").agent
            assert agent.sync is (kept is not None)
            _, result = await direct.perform(agent, b'{"found": []}')
            assert result == b'{"found":[4,[1]]}'


async def test_an_interrupt_is_an_error(tmp_path: Path) -> None:
    def node(state: State) -> State:
        return {"found": [interrupt("?")]}

    agent = App().add(graph(node), name="asks", durability="none").agent
    with pytest.raises(UsageError, match="interrupted"):
        await direct.perform(agent, b'{"found": []}')
