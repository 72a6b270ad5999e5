"""Inputs and outputs of agents as JSON, in the SDK's own shapes.

In: a string is the user's message; a list is the SDK's list of input items (a conversation so far,
as ``result.to_input_list()`` gives it). Out: the run's ``final_output``, typed outputs as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, TypeAdapter

from perdure.errors import InvalidInput
from perdure.frameworks.plain import plain

SCHEMA: dict[str, Any] = {
    "description": "The user's message, or a list of the SDK's input items.",
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "object"}, "minItems": 1},
    ],
}


def read_input(value: Any, *, agent: str) -> str | list[Any]:
    """The input for ``Runner.run``. Raises InvalidInput."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return list(value)
    kind = "null" if value is None else type(value).__name__
    raise InvalidInput(
        f"Agent {agent!r} takes a message or a list of input items, not {kind}.",
        hint='A string, or for example [{"role": "user", "content": "Hello"}].',
    )


def output(value: Any) -> Any:
    """A run's final output as JSON values: models and dataclasses as their own types write them."""
    if value is None or isinstance(value, str | bool | int | float | list | tuple | dict):
        return plain(value)
    try:
        return TypeAdapter(type(value)).dump_python(value, mode="json")
    except Exception:  # no schema for a class of the user's own
        return plain(value)


def items(answer: Iterable[Any]) -> list[Any]:
    """What a model said, as the API gave it: without what it left out."""
    return [
        item.model_dump(mode="json", exclude_unset=True, warnings=False)
        if isinstance(item, BaseModel)
        else plain(item)
        for item in answer
    ]
