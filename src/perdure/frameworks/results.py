"""What a tool returns, as bytes and back (rule K8): what the adapters' ``ToolValues`` share."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, get_type_hints

from perdure import codec


def is_json(value: Any, tag: str) -> bool:
    """Whether JSON gives ``value`` back as it is, and nothing in it could be taken for an object
    with the key ``tag``, by which an adapter says what JSON cannot."""
    if value is None or type(value) in (str, bool):
        return True
    if type(value) is int:
        return -(2**63) <= value < 2**64
    if type(value) is float:
        return isfinite(value)
    if type(value) is list:
        return all(is_json(item, tag) for item in value)
    if type(value) is dict:
        return tag not in value and all(
            type(key) is str and is_json(item, tag) for key, item in value.items()
        )
    return False


def returned_by(function: Callable[..., Any]) -> Any:
    """What a tool's function says that it returns; None where it does not say."""
    try:
        found = get_type_hints(function).get("return")
    except Exception:  # a name that only a type checker can resolve, or a partial
        return None
    return None if found is Any else found


def typed(value: Any, annotation: Any, tool: str) -> bytes:
    """A result of ``tool`` as what its function says that it returns, which gives it back. Raises
    CodecError."""
    data = codec.encode(value, annotation, what=f"result of {tool!r}")
    codec.decode(data, annotation)
    return data
