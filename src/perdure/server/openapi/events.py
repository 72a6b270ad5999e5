"""The shapes of events: one vocabulary for every framework, and for all who read a run's log.

Tokens are ``delta`` events of kind ``model``, tool calls are ``effect`` events of kind ``tool``;
what else a framework tells is an ``emit`` with one of the names in ``FRAMEWORK_EVENTS``.
"""

from __future__ import annotations

from typing import Any

from perdure.core.record import EntryState, Kind, Promise

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
HEX: Schema = {"type": "string", "pattern": "^[0-9a-f]+$"}


def _open(properties: dict[str, Schema], *required: str) -> Schema:
    """An object that later versions may add members to."""
    return {"type": "object", "properties": properties, "required": list(required)}


VALUE: dict[str, Schema] = {
    "value": {"description": "JSON, where it is small."},
    "value_size": {"type": "integer", "description": "Bytes, where it is not."},
    "value_blob": {"type": "string", "description": "Its name among the large values."},
    "value_base64": {"type": "string", "description": "Raw bytes."},
}
_EFFECT: dict[str, Schema] = {
    "kind": {"enum": [str(kind) for kind in Kind]},
    "name": TEXT,
    "key": HEX,
    "scope": {**HEX, "description": "The key of the effect around it."},
    "branch": {"type": "string", "description": "Its place in the agent's own concurrency."},
}

# type -> its data
DATA: dict[str, Schema] = {
    "status": _open(
        {
            "state": TEXT,
            "reason": TEXT,
            "waits": {"type": "array", "items": {"type": "object"}},
            "error": {"type": "object"},
        },
        "state",
    ),
    "attempt.started": _open({"attempt": WHOLE, "worker": TEXT, "trace_id": HEX}, "attempt"),
    "effect.started": _open(_EFFECT, "kind", "name", "key"),
    "effect": _open(
        {
            **_EFFECT,
            "state": {"enum": [str(state) for state in EntryState]},
            "promise": {"enum": [str(promise) for promise in Promise]},
            "took_ms": WHOLE,
            **VALUE,
        },
        "key",
        "state",
    ),
    "delta": _open({**_EFFECT, "kind": TEXT, "items": {"type": "array"}}, "items"),
    "emit": _open({"name": TEXT, **VALUE}, "name"),
    "warning": _open({"code": TEXT, "message": TEXT, "key": HEX}, "code"),
    "signal": _open({"name": TEXT, "n": WHOLE}, "name", "n"),
}

# name of an ``emit`` of a framework -> its value
FRAMEWORK_EVENTS: dict[str, Schema] = {
    "state": _open(
        {
            "name": {"type": "string", "description": "Of the node, agent or executor."},
            "path": {"type": "string", "description": "Its branch, the same in every attempt."},
            "update": {"description": "What it added, in the framework's own shapes."},
        },
        "name",
    ),
    "agent": _open({"from": {"type": ["string", "null"]}, "to": TEXT}, "to"),
    "custom": {"description": "What the agent's code gave to the framework's own stream."},
    "interrupt": _open(
        {"id": {"type": "string", "description": "The answer is the signal `resume:ID`."}}, "id"
    ),
}


def event() -> Schema:
    """Any event."""
    return {
        "type": "object",
        "properties": {
            "seq": {"type": "integer", "minimum": 1},
            "at": {"type": "string", "format": "date-time"},
            "type": {"enum": list(DATA)},
            "data": {"type": "object"},
        },
        "required": ["seq", "at", "type", "data"],
        "additionalProperties": False,
        "allOf": [
            {
                "if": {"properties": {"type": {"const": kind}}},
                "then": {"properties": {"data": data}},
            }
            for kind, data in DATA.items()
        ],
    }
