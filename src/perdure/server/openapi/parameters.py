"""What can stand in a path, a query or a header."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from perdure.runtime.halting import MAX_TEXT as HALT_TEXT
from perdure.server.openapi.schemas import ID, NO_NUL, RUN_ID, TIME, TRACE, TRACE_ID, ref
from perdure.server.routes.actions import MAX_NAME
from perdure.server.routes.listing import MAX_LIMIT
from perdure.server.routes.money import MAX_GROUPS
from perdure.server.submission import KEY_PATTERN, MAX_KEY
from perdure.server.web.choice import MAX_TEXT
from perdure.server.web.cursor import PATTERN
from perdure.store.spending import FILTER_NAMES, NAMES

Parameter = dict[str, Any]
_FILTER = {"type": "string", "maxLength": MAX_TEXT, "pattern": NO_NUL}


def path(name: str, example: Any, schema: dict[str, Any], text: str) -> Parameter:
    return {
        "name": name, "in": "path", "required": True, "schema": schema, "example": example,
        "description": text,
    }  # fmt: skip


def query(name: str, schema: dict[str, Any], text: str, **more: Any) -> Parameter:
    return {"name": name, "in": "query", "schema": schema, "description": text, **more}


def header(name: str, schema: dict[str, Any], text: str, **more: Any) -> Parameter:
    return {"name": name, "in": "header", "schema": schema, "description": text, **more}


RUN = path("id", RUN_ID, ID, "The run.")
AGENT = path("agent", "greet", {"type": "string", "minLength": 1}, "The agent's name.")
SIGNAL = path(
    "name",
    "approved",
    # A slash ends the name, however it is written; dots alone are taken out by clients.
    {
        "type": "string", "minLength": 1, "maxLength": MAX_NAME,
        "pattern": "^(?!run:)(?!\\.{1,2}$)[^\\u0000/]+$",
    },
    "The signal's name.",
)  # fmt: skip
CODE = path("code", "not_found", {"type": "string", "minLength": 1}, "The error's code.")

WAIT = query(
    "wait", {"type": "number", "minimum": 0},
    "Seconds to wait for the run's end; cut to the server's server.max_wait.", example=0,
)  # fmt: skip
PREFER = header(
    "Prefer", {"type": "string"}, "wait=N as above, or respond-async (RFC 7240).",
    example="wait=1",
)  # fmt: skip
KEY = header(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": KEY_PATTERN},
    "The same request with the same key is done once. Bare, or a quoted string.",
)  # fmt: skip
TRACEPARENT = header(
    "traceparent", {"type": "string"}, "The trace that the run belongs to (W3C trace context).",
    example=f"00-{TRACE_ID}-00f067aa0ba902b7-01",
)  # fmt: skip
SEQ = {"type": "string", "pattern": "^[0-9]{1,18}$"}
LAST_EVENT_ID = header("Last-Event-ID", SEQ, "Begin after this seq.", example="0")
AFTER = query(
    "after", {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}, "The same.", example=0
)
FOLLOW = query(
    "follow", {"type": "boolean", "default": True}, "false: what there is by now, then the end.",
    example=False,
)  # fmt: skip


def fields(known: Collection[str]) -> Parameter:
    """``?fields=``, of these members."""
    names = sorted(known)
    return query(
        "fields",
        {"type": "array", "items": {"type": "string", "enum": names}, "minItems": 1},
        "Only these members.", style="form", explode=False, example=names[:2],
    )  # fmt: skip


STATE = query(
    "state", {"type": "array", "items": ref("State"), "minItems": 1}, "In one of these states.",
    style="form", explode=True, example=["succeeded"],
)  # fmt: skip
LISTING = [
    query("agent", _FILTER, "Of this agent.", example="greet"),
    query("tenant", _FILTER, "Of this tenant.", example=""),
    query("session", _FILTER, "Of this session.", example="chat-7"),
    query("parent", ID, "Started by this run.", example=RUN_ID),
    query(
        "label",
        {"type": "array", "items": {
            "type": "string", "pattern": "^[^:\\u0000]+:[^\\u0000]*$", "maxLength": MAX_TEXT,
        }},
        "With this label, as name:value; several: with all of them.",
        style="form", explode=True, example=["customer:7"],
    ),
    query("trace_id", {**TRACE, "not": {"const": "0" * 32}}, "Of this trace.", example=TRACE_ID),
    query("created_after", TIME, "Made at this time or later.", example="2026-01-31T12:00:00Z"),
    query("created_before", TIME, "Made before.", example="2027-01-31T12:00:00Z"),
    query(
        "limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 50},
        "Runs a page.", example=50,
    ),
    query(
        "cursor", {"type": "string", "pattern": PATTERN}, "next of the page before.",
        example="00000000000f4240",
    ),
]  # fmt: skip
OF_KEY = query(
    "idempotency_key", _FILTER,
    "The run that was started with this Idempotency-Key.", example="order-7",
)  # fmt: skip
COSTS = [
    query(
        "by", {"type": "array", "items": {"type": "string", "enum": list(NAMES)}, "minItems": 1,
               "uniqueItems": True},
        "What to group by (model).", style="form", explode=False, example=["agent", "day"],
    ),
    query("since", TIME, "Written at this time or later.", example="2026-01-31T12:00:00Z"),
    query("until", TIME, "Written before.", example="2027-01-31T12:00:00Z"),
    *(
        query(name, ID if name == "run" else _FILTER, f"Only of this {name}.",
              example=RUN_ID if name == "run" else "greet")
        for name in FILTER_NAMES
    ),
    query(
        "limit", {"type": "integer", "minimum": 1, "maximum": MAX_GROUPS, "default": 100},
        "Groups.", example=100,
    ),
]  # fmt: skip
COUNTED_SINCE = query(
    "since", TIME, "Calls are counted from this time on (the last hour).",
    example="2026-01-31T12:00:00Z",
)  # fmt: skip
HALTED = query("kind", {"enum": ["agent", "tenant"]}, "What is halted.", required=True,
               example="agent")  # fmt: skip
HALTED_NAME = query(
    "name", {"type": "string", "minLength": 1, "maxLength": HALT_TEXT, "pattern": NO_NUL},
    "Its name.", required=True, example="greet",
)  # fmt: skip
