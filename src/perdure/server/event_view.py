"""A run's log as clients see it: one vocabulary for SSE, JSON lines and every protocol's view.

Every event is ``{"seq", "at", "type", "data"}``. Types and their data:

``status``           ``state``, and why: ``waits``, ``reason``, ``error``
``attempt.started``  ``attempt`` (1, 2, …), ``worker``: text of earlier attempts after the last
                     done effect is void
``effect.started``   ``kind``, ``name``, ``key``, ``scope``, ``branch``
``effect``           the same and ``state`` (intent, done, failed, abandoned, void), ``promise``,
                     ``took_ms``, and the value
``delta``            ``items``: pieces of a model's or a streaming agent's answer, with ``kind``,
                     and ``key`` and ``name`` of the effect they belong to
``emit``             ``name``, and the value: an event of the agent's own
``warning``          ``code``, ``message``, ``key``
``signal``           ``name``, ``n``

The value is ``value`` (JSON) where it is small; else ``value_size`` (bytes) or ``value_blob`` (its
name in the blob store) stands for it; raw bytes are ``value_base64``.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import orjson

from perdure.codec import BLOB, RAW
from perdure.core.record import Kind, RecordType
from perdure.core.run import FINAL
from perdure.store.rows import LogEvent

VALUE_INLINE = 64 * 1024  # bytes of a value that go into an event


def view(event: LogEvent) -> dict[str, Any]:
    """The event as JSON values."""
    type_, data = _typed(event)
    return {"seq": event.seq, "at": event.at.isoformat(), "type": type_, "data": data}


def ends(event: LogEvent) -> bool:
    """Whether this is a status after which a run is final."""
    return event.type == RecordType.STATUS and event.name in FINAL


def _typed(event: LogEvent) -> tuple[str, dict[str, Any]]:
    if event.type == RecordType.ENTRY:
        if event.kind == Kind.EMIT:
            return "emit", {"name": event.name, **_value(event.value)}
        data = _effect(event)
        data["state"] = event.state
        if event.promise is not None:
            data["promise"] = event.promise
        if event.took_ms is not None:
            data["took_ms"] = event.took_ms
        data.update(_value(event.value))
        return "effect", data
    if event.type == RecordType.STATUS:
        return "status", {"state": event.name, **_about(event.value)}
    if event.type == RecordType.STARTED:
        return event.type, _effect(event)
    if event.type == RecordType.DELTA:
        return event.type, {**_effect(event), "items": _items(event.value)}
    if event.type == RecordType.WARNING:
        data = {"code": event.name, **_about(event.value)}
        if event.key is not None:
            data["key"] = event.key.hex()
        return event.type, data
    if event.type == RecordType.SIGNAL:
        return event.type, {"name": event.name, **_about(event.value)}
    return event.type, _about(event.value)


def _effect(event: LogEvent) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if event.kind is not None:
        data["kind"] = event.kind
    if event.name is not None:
        data["name"] = event.name
    if event.key is not None:
        data["key"] = event.key.hex()
    if event.scope:
        data["scope"] = event.scope.hex()
    if event.branch:
        data["branch"] = event.branch
    return data


def _about(value: bytes | None) -> dict[str, Any]:
    """The object that a status, warning or signal row carries."""
    found = orjson.loads(value) if value else {}
    return found if isinstance(found, dict) else {"value": found}


def _items(value: bytes | None) -> list[Any]:
    found = orjson.loads(value) if value else []
    return found if isinstance(found, list) else [found]


def _value(value: bytes | None) -> dict[str, Any]:
    if value is None:
        return {}
    if value[:1] == BLOB:
        return {"value_blob": value[1:].decode("ascii", "replace")}
    if len(value) > VALUE_INLINE:
        return {"value_size": len(value)}
    if value[:1] == RAW:
        return {"value_base64": b64encode(value[1:]).decode()}
    return {"value": orjson.loads(value)}
