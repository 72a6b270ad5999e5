"""Inputs and outputs of graphs as JSON, in LangChain's own shapes.

In: an object is the graph's input as it is (``add_messages`` reads message objects and dicts
alike); a string is a user's message where the state has ``messages``. Out: messages as
``model_dump`` gives them (``{"type": "ai", "content": ..., "tool_calls": [...], ...}``), models
and dataclasses as objects. What goes out is for people and clients and never comes back into a
replay, so an object that JSON cannot hold is named, ``{"unserializable": "module.Class"}``,
rather than failing a run that has done its work.
"""

from __future__ import annotations

from typing import Any

from langchain_core.messages import BaseMessage, BaseMessageChunk
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel

from perdure.errors import InvalidInput
from perdure.frameworks.plain import Plain


def read_input(graph: Pregel[Any, Any, Any, Any], value: Any, *, agent: str) -> Any:
    """The graph's input for a run's input. Raises InvalidInput."""
    if not isinstance(graph, CompiledStateGraph):
        return value  # a functional entrypoint takes anything
    keys = input_keys(graph)
    if isinstance(value, str) and "messages" in keys:
        return {"messages": [{"role": "user", "content": value}]}
    if isinstance(value, list) and "messages" in keys:
        return {"messages": value}
    if not isinstance(value, dict):
        if "__root__" in keys:
            return value
        hint = "An object, or a string for the user's message." if "messages" in keys else None
        raise InvalidInput(
            f"Agent {agent!r} takes an object with {', '.join(sorted(keys)) or 'its state'}, "
            f"not {'null' if value is None else type(value).__name__}.",
            hint=hint,
        )
    unknown = sorted(set(value) - keys)
    if unknown:
        raise InvalidInput(
            f"Agent {agent!r} has no input {unknown[0]!r}.",
            hint=f"Inputs: {', '.join(sorted(keys))}",
        )
    return value


def input_keys(graph: CompiledStateGraph[Any, Any, Any, Any]) -> set[str]:
    """The state's keys that an input may set."""
    builder = graph.builder
    keys = set(builder.schemas.get(builder.input_schema, ()))
    return keys or {"__root__"}


def plain(value: Any, lost: list[str] | None = None) -> Any:
    """``value`` as JSON values. ``lost`` collects the classes of what JSON cannot hold."""
    return _Shown(lost).of(value)


def message(value: BaseMessage) -> dict[str, Any]:
    """A message as LangChain's ``model_dump`` gives it; of a piece of one only what it says."""
    return _Shown(None).message(value)


class _Shown(Plain):
    def __init__(self, lost: list[str] | None) -> None:
        self._lost = lost

    def of_object(self, value: Any, depth: int) -> Any:
        if isinstance(value, BaseMessage):
            return self.message(value)
        return super().of_object(value, depth)

    def message(self, value: BaseMessage) -> dict[str, Any]:
        names = type(value).model_fields
        brief = isinstance(value, BaseMessageChunk)
        dumped = {name: getattr(value, name) for name in names}
        dumped.update(value.model_extra or {})
        return {
            name: self.of(item, 1)
            for name, item in dumped.items()
            if not brief or item or name in ("type", "content")
        }

    def key(self, key: Any) -> str:
        return key if isinstance(key, str) else str(self.of(key))

    def named(self, value: Any) -> dict[str, str]:
        named = super().named(value)
        if self._lost is not None and named["unserializable"] not in self._lost:
            self._lost.append(named["unserializable"])
        return named
