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


class Plain:
    """How it is done with Python's own values; a framework's own objects are a subclass's."""

    def of(self, value: Any, depth: int = 0) -> Any:
        """``value``, which is ``depth`` containers deep, as JSON values."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Enum):
            return self.of(value.value, depth)
        if isinstance(value, str):
            return str(value)
        if isinstance(value, int):
            return int(value) if -(2**63) <= value < 2**64 else str(value)
        if isinstance(value, float):
            return float(value) if isfinite(value) else repr(value)
        if depth > MAX_DEPTH or isinstance(value, type):
            return self.named(value)
        if isinstance(value, Mapping):
            return {self.key(k): self.of(v, depth + 1) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(item, depth + 1) for item in value]
        if isinstance(value, set | frozenset):
            return sorted((self.of(item, depth + 1) for item in value), key=repr)
        if isinstance(value, datetime | date | time):
            return value.isoformat()
        if isinstance(value, timedelta):
            return value.total_seconds()
        if isinstance(value, UUID | Decimal):
            return str(value)
        if isinstance(value, bytes | bytearray):
            return b64encode(value).decode()
        return self.of_object(value, depth)

    def of_object(self, value: Any, depth: int) -> Any:
        """Models and dataclasses as objects."""
        if isinstance(value, BaseModel):
            names = (*type(value).model_fields, *(value.model_extra or {}))
            return {name: self.of(getattr(value, name), depth + 1) for name in names}
        if is_dataclass(value):
            return {f.name: self.of(getattr(value, f.name), depth + 1) for f in fields(value)}
        return self.named(value)

    def key(self, key: Any) -> str:
        """A mapping's key."""
        return str(key)

    def named(self, value: Any) -> dict[str, str]:
        """What stands for what JSON cannot hold."""
        cls = value if isinstance(value, type) else type(value)
        return {"unserializable": f"{cls.__module__}.{cls.__qualname__}"}


class _Written(Plain):
    """Objects with ``to_dict`` are as that says."""

    def of_object(self, value: Any, depth: int) -> Any:
        to_dict = None if isinstance(value, BaseModel) else getattr(value, "to_dict", None)
        if not callable(to_dict):
            return super().of_object(value, depth)
        try:
            return self.of(to_dict(), depth + 1)
        except Exception:  # it holds what it cannot write
            return self.named(value)


plain = _Written().of
