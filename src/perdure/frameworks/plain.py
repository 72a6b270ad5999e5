"""What frameworks give out, as JSON values for people and clients.

What goes out here never comes back into a replay, so an object that JSON cannot hold is named,
``{"unserializable": "module.Class"}``, rather than failing a run that has done its work.
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

from pydantic import BaseModel

MAX_DEPTH = 100


def plain(value: Any, depth: int = 0) -> Any:
    """``value`` as JSON values; objects with ``to_dict`` as that says."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return plain(value.value, depth)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, float):
        return float(value) if isfinite(value) else repr(value)
    if depth > MAX_DEPTH or isinstance(value, type):
        return _named(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item, depth + 1) for item in value), key=repr)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID | Decimal):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return b64encode(value).decode()
    if isinstance(value, BaseModel):
        names = (*type(value).model_fields, *(value.model_extra or {}))
        return {name: plain(getattr(value, name), depth + 1) for name in names}
    if callable(to_dict := getattr(value, "to_dict", None)):
        try:
            return plain(to_dict(), depth + 1)
        except Exception:  # it holds what it cannot write
            return _named(value)
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name), depth + 1) for f in fields(value)}
    return _named(value)


def _named(value: Any) -> dict[str, str]:
    cls = value if isinstance(value, type) else type(value)
    return {"unserializable": f"{cls.__module__}.{cls.__qualname__}"}
