"""A LangGraph object as an agent, as it is (see ``adapt``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langgraph.errors import GraphRecursionError, InvalidUpdateError
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel

from perdure.core.ports import current_boundary
from perdure.errors import TargetError
from perdure.frameworks.langgraph import discover
from perdure.frameworks.langgraph.graph_run import Graph, GraphRun, run_unrecorded
from perdure.frameworks.langgraph.places import here
from perdure.frameworks.langgraph.shapes import read_input
from perdure.frameworks.langgraph.tools import install
from perdure.frameworks.promises import declared_tools
from perdure.runtime.agent import Agent

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt
    from perdure.runtime.policy import Policy


def adapt(target: Any, *, name: str | None, tools: Mapping[str, Any], policy: Policy) -> Agent:
    """A compiled graph (also of ``create_agent`` and ``@entrypoint``) or a builder, which is
    compiled. ``tools`` declares promises. Raises TargetError, and ConfigError for a tool that the
    graph does not have."""
    graph = _compiled(target)
    name = name or _own_name(graph)
    declared = declared_tools(name, tools, discover.tools(graph)) if tools else {}
    reason = discover.only_sync(graph)
    install()

    async def invoke(attempt: Attempt, value: Any) -> Any:
        if current_boundary.get() is None:
            return await run_unrecorded(
                graph, value, agent=name, run_id=attempt.run_id, sync=reason is not None
            )
        run = GraphRun(graph, attempt)
        return await (run.run_async(value) if reason is None else run.run_sync(value))

    return Agent(
        name=name,
        invoke=invoke,
        policy=replace(policy, fatal=(*policy.fatal, *_FATAL)),
        framework="langgraph",
        description=str(getattr(graph, "description", None) or ""),
        sync=reason is not None,
        namer=here,
        schema=lambda: _schema(graph),
        check=lambda value: read_input(graph, value, agent=name),
        target=target,
        tools=declared,
    )


# Of the graph itself, not of the world: the same graph fails alike.
_FATAL = (GraphRecursionError, InvalidUpdateError)


def _compiled(target: Any) -> Graph:
    if isinstance(target, StateGraph):
        return target.compile()
    if isinstance(target, Pregel):
        return target
    raise TargetError(
        f"{target!r} is a {type(target).__name__} of LangGraph, but no graph that runs here.",
        hint="Give a StateGraph, a compiled graph, an agent of create_agent, or an @entrypoint.",
    )


def _own_name(graph: Graph) -> str:
    name = graph.get_name()
    return name if name and name != "LangGraph" else "agent"


def _schema(graph: Graph) -> dict[str, Any] | None:
    try:
        return graph.get_input_jsonschema()
    except Exception:  # state with types that have no schema
        return None
