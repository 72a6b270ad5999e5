"""Inputs and outputs of graphs as JSON, in LangChain's own shapes.

In: an object is the graph's input as it is (``add_messages`` reads message objects and dicts
alike); a string is a user's message where the state has ``messages``. Out: messages as
``model_dump`` gives them (``{"type": "ai", "content": ..., "tool_calls": [...], ...}``), models
and dataclasses as objects. What goes out is for people and clients and never comes back into a
replay, so an object that JSON cannot hold is named, ``{"unserializable": "module.Class"}``,
rather than failing a run that has done its work.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Any
from uuid import UUID

from langchain_core.messages import BaseMessage, BaseMessageChunk
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from pydantic import BaseModel

from perdure.errors import InvalidInput

MAX_DEPTH = 100


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


def plain(value: Any, lost: list[str] | None = None, depth: int = 0) -> Any:
    """``value`` as JSON values. ``lost`` collects the classes of what JSON cannot hold."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return plain(value.value, lost, depth)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, float):
        return float(value) if isfinite(value) else repr(value)
    if depth > MAX_DEPTH:
        return _lose(value, lost)
    if isinstance(value, BaseMessage):
        return message(value, lost)
    if isinstance(value, BaseModel):
        return {
            name: plain(getattr(value, name), lost, depth + 1)
            for name in (*type(value).model_fields, *(value.model_extra or {}))
        }
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name), lost, depth + 1) for f in fields(value)}
    if isinstance(value, Mapping):
        return {_key(k): plain(v, lost, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, lost, depth + 1) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item, lost, depth + 1) for item in value), key=repr)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID | Decimal):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return b64encode(value).decode()
    return _lose(value, lost)


def message(value: BaseMessage, lost: list[str] | None = None) -> dict[str, Any]:
    """A message as LangChain's ``model_dump`` gives it; of a piece of one only what it says."""
    names = type(value).model_fields
    brief = isinstance(value, BaseMessageChunk)
    dumped = {name: getattr(value, name) for name in names}
    dumped.update(value.model_extra or {})
    return {
        name: plain(item, lost, 1)
        for name, item in dumped.items()
        if not brief or item or name in ("type", "content")
    }


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(plain(key))


def _lose(value: Any, lost: list[str] | None) -> dict[str, str]:
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if lost is not None and name not in lost:
        lost.append(name)
    return {"unserializable": name}
