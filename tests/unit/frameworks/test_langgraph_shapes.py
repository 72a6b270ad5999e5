"""Outputs of graphs as JSON, and what a graph is made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from pydantic import BaseModel

from perdure.frameworks.langgraph import discover
from perdure.frameworks.langgraph.shapes import plain
from perdure.frameworks.plain import MAX_DEPTH


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    at: datetime


class Report(BaseModel):
    title: str
    by: set[str]


def test_everything_common_becomes_json() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    value = {
        1: (Colour.RED, Point(1, now), Report(title="t", by={"b", "a"})),
        "big": 2**80,
        "nan": float("inf"),
        "when": [date(2026, 1, 2), timedelta(minutes=1), UUID(int=1), Decimal("1.5")],
        "raw": b"\x00",
    }
    assert plain(value) == {
        "1": ["red", {"x": 1, "at": "2026-11-21T00:00:00+00:00"}, {"title": "t", "by": ["a", "b"]}],
        "big": str(2**80),
        "nan": "inf",
        "when": ["2026-01-02", 60.0, str(UUID(int=1)), "1.5"],
        "raw": "AA==",
    }


def test_messages_have_langchains_shape() -> None:
    message = AIMessage("hm", id="1", tool_calls=[{"name": "t", "args": {"x": 1}, "id": "c"}])
    assert plain(message) == orjson.loads(orjson.dumps(message.model_dump(mode="json")))
    assert plain(HumanMessage("hi", id="2"))["type"] == "human"
    piece = plain(AIMessageChunk(content="h", id="1"))
    assert piece == {"content": "h", "id": "1", "type": "AIMessageChunk"}


def test_what_json_cannot_hold_is_named() -> None:
    lost: list[str] = []
    deep: Any = "end"
    for _ in range(MAX_DEPTH + 5):
        deep = [deep]
    assert plain([object(), object()], lost) == [{"unserializable": "builtins.object"}] * 2
    assert lost == ["builtins.object"]
    orjson.dumps(plain(deep, lost))
    assert lost == ["builtins.object", "builtins.list"]


@tool
def global_tool(x: int) -> int:
    """In a global."""
    return x


@tool
def mapped_tool(x: int) -> int:
    """In a table of tools."""
    return x


TOOLS = {t.name: t for t in [mapped_tool]}


class Holder:
    def __init__(self, tools: list[Any]) -> None:
        self.tools = tools

    def __call__(self, state: dict[str, Any]) -> dict[str, Any]:
        return {}

    def method(self, state: dict[str, Any]) -> dict[str, Any]:
        return {}


def local(name: str) -> Any:
    @tool(name)
    def made(x: int) -> int:
        """Made here."""
        return x

    return made


def test_tools_are_found_where_a_reader_would_find_them() -> None:
    closed = local("closed")

    def uses_globals(state: dict[str, Any]) -> dict[str, Any]:
        return {"a": global_tool.invoke({"x": 1}), "b": TOOLS["mapped_tool"]}

    def uses_closure(state: dict[str, Any]) -> dict[str, Any]:
        return {"a": [closed.invoke({"x": i}) for i in range(2)]}

    inner: Any = StateGraph(dict)
    inner.add_node("tools", ToolNode([local("in_subgraph")]))
    inner.add_edge(START, "tools")
    graph: Any = StateGraph(dict)
    graph.add_node("globals", uses_globals)
    graph.add_node("closure", uses_closure)
    graph.add_node("object", Holder([local("in_object")]))
    graph.add_node("method", Holder([local("in_method")]).method)
    graph.add_node("sub", inner.compile())
    graph.add_edge(START, "globals")
    assert sorted(discover.tools(graph.compile())) == [
        "closed", "global_tool", "in_method", "in_object", "in_subgraph", "mapped_tool",
    ]  # fmt: skip


async def test_graphs_that_only_work_synchronously(tmp_path: Path) -> None:
    graph: Any = StateGraph(dict)
    graph.add_node("tools", ToolNode([local("t")]))
    graph.add_edge(START, "tools")
    wrapped: Any = StateGraph(dict)
    wrapped.add_node("tools", ToolNode([local("t")], wrap_tool_call=lambda r, h: h(r)))
    wrapped.add_edge(START, "tools")
    assert discover.only_sync(graph.compile()) is None
    assert discover.only_sync(graph.compile(checkpointer=InMemorySaver())) is None
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "a.db")) as saver:
        assert discover.only_sync(graph.compile(checkpointer=saver)) is None
    with SqliteSaver.from_conn_string(str(tmp_path / "b.db")) as sync_saver:
        reason = discover.only_sync(graph.compile(checkpointer=sync_saver))
        assert reason is not None
        assert "SqliteSaver" in reason
    assert discover.only_sync(wrapped.compile()) is not None
