"""The shapes of what goes in and out. Where members can be chosen (``?fields=``) none is required;
no other members than these come."""

from __future__ import annotations

from typing import Any

from perdure.core.run import RunState
from perdure.runtime.halting import MAX_TEXT
from perdure.server.openapi.events import event
from perdure.server.submission import MAX_LABEL, MAX_LABELS, MAX_PRIORITY, YEAR
from perdure.store.spending import COUNTS

Schema = dict[str, Any]

RUN_ID = "01980a52-2b1f-7e3a-9d2c-5b1a0c9d8e7f"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
NO_NUL = "^[^\\u0000]*$"


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def maybe(schema: Schema) -> Schema:
    """The same, or null."""
    if "$ref" in schema or "enum" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}


def closed(properties: dict[str, Schema], required: tuple[str, ...] = ()) -> Schema:
    """An object with nothing but these members."""
    out: Schema = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    return {**out, "required": list(required)} if required else out


TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
TIME: Schema = {"type": "string", "format": "date-time"}
ID: Schema = {"type": "string", "format": "uuid"}
TRACE: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
ENCODING: Schema = {"const": "base64", "description": "The value is text of raw bytes."}
LABELS: Schema = {"type": "object", "additionalProperties": TEXT}

_SUMMARY: dict[str, Schema] = {
    "id": ID,
    "agent": TEXT,
    "state": ref("State"),
    "tenant": TEXT,
    "queue": TEXT,
    "priority": WHOLE,
    "session": maybe(TEXT),
    "attempts": {**WHOLE, "description": "Failures so far."},
    "max_attempts": WHOLE,
    "epoch": {**WHOLE, "description": "Claims so far."},
    "created_at": TIME,
    "started_at": maybe(TIME),
    "finished_at": maybe(TIME),
    "ready_at": maybe(TIME),
    "wake_at": maybe(TIME),
    "deadline_at": maybe(TIME),
    "dismissed_at": maybe(TIME),
    "worker": maybe(TEXT),
    "parent": maybe(ID),
    "depth": WHOLE,
    "generation": WHOLE,
    "cancel_requested": {"type": "boolean"},
    "waits": {"type": "array", "items": ref("Wait")},
    "labels": LABELS,
    "trace_id": TRACE,
    "traceparent": maybe(TEXT),
    "error": maybe(ref("Failure")),
}

NUMBER: Schema = {"type": "number"}
_COST_SUMS: dict[str, Schema] = {
    **dict.fromkeys(COUNTS, WHOLE),
    "hit_rate": {**NUMBER, "description": "Part of the input out of the provider's cache."},
    "cost_usd": NUMBER,
    "cost_nano": {**WHOLE, "description": "Nano-dollars, exactly."},
    "saved_usd": NUMBER,
    "saved_nano": WHOLE,
}

SCHEMAS: dict[str, Schema] = {
    "Json": {
        "description": "Any JSON; integers have 64 bits.",
        "anyOf": [
            {"type": ["null", "boolean", "string"]},
            {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1},
            {"type": "number", "not": {"type": "integer"}},
            {"type": "array", "items": ref("Json")},
            {"type": "object", "additionalProperties": ref("Json")},
        ],
    },
    "State": {"type": "string", "enum": [state.value for state in RunState]},
    "Wait": {
        "type": "object",
        "description": "What a parked run waits for.",
        "properties": {
            "reason": TEXT,
            "name": TEXT,
            "after": WHOLE,
            "until": TIME,
            "key": TEXT,
            "detail": TEXT,
        },
        "required": ["reason"],
    },
    "Failure": {
        "type": "object",
        "properties": {"type": TEXT, "message": TEXT, "code": TEXT, "hint": TEXT},
        "required": ["type", "message"],
    },
    "Submission": {
        **closed(
            {
                "input": {**ref("Json"), "description": "The agent's input."},
                "labels": {
                    "type": ["object", "null"],
                    "maxProperties": MAX_LABELS,
                    "propertyNames": {
                        "minLength": 1,
                        "maxLength": MAX_LABEL,
                        "pattern": NO_NUL,
                    },
                    "additionalProperties": {
                        "type": "string",
                        "maxLength": MAX_LABEL,
                        "pattern": NO_NUL,
                    },
                },
                "priority": {
                    "type": ["integer", "null"],
                    "minimum": -MAX_PRIORITY,
                    "maximum": MAX_PRIORITY,
                },
                "timeout": {
                    "type": ["number", "null"],
                    "minimum": 0.001,
                    "maximum": YEAR,
                    "description": "Seconds until its deadline.",
                },
                "delay": {
                    "type": ["number", "null"],
                    "minimum": 0,
                    "maximum": YEAR,
                    "description": "Seconds until it may begin.",
                },
            }
        ),
        "examples": [{"input": "Ada", "labels": {"customer": "7"}}],
    },
    "Receipt": closed(
        {
            "id": ID,
            "agent": TEXT,
            "state": ref("State"),
            "trace_id": TRACE,
            "result": {"description": "Of a run that succeeded."},
            "result_encoding": ENCODING,
            "error": maybe(ref("Failure")),
            "durability": {"const": "none"},
        },
        ("id", "agent", "state", "trace_id"),
    ),
    "RunSummary": closed(_SUMMARY),
    "Run": closed(
        {
            **_SUMMARY,
            "input": {},
            "input_encoding": ENCODING,
            "result": {},
            "result_encoding": ENCODING,
        }
    ),
    "RunPage": closed(
        {"runs": {"type": "array", "items": ref("RunSummary")}, "next": ref("Cursor")}, ("runs",)
    ),
    "DeadLetterPage": closed(
        {"dead_letters": {"type": "array", "items": ref("RunSummary")}, "next": ref("Cursor")},
        ("dead_letters",),
    ),
    "Cursor": {"type": "string", "description": "Where the next page begins; opaque."},
    "Event": event(),
    "ServerSentEvent": {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "The event's seq."},
            "event": {"type": "string", "description": "Its type."},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": ref("Event"),
            },
        },
    },
    "Agent": closed(
        {
            "name": TEXT,
            "framework": TEXT,
            "description": TEXT,
            "durability": {"enum": ["journal", "none"]},
            "here": {"type": "boolean", "description": "Whether its code is in this process."},
            "input_schema": {"type": ["object", "boolean", "null"]},
        }
    ),
    "AgentList": closed({"agents": {"type": "array", "items": ref("Agent")}}, ("agents",)),
    "SignalReceipt": closed({"run": ID, "name": TEXT, "n": WHOLE}, ("run", "name", "n")),
    "Reason": closed({"reason": {"type": "string", "pattern": NO_NUL}}),
    "Answer": {
        **closed(
            {
                "answer": {"type": "string", "enum": ["done", "redo"]},
                "key": {
                    "type": "string",
                    "pattern": "^([0-9a-f]{2})+$",
                    "description": "Which effect, where several are open.",
                },
                "value": {**ref("Json"), "description": "What it returned; with done only."},
            },
            ("answer",),
        ),
        "if": {"required": ["value"]},
        "then": {"properties": {"answer": {"const": "done"}}},
    },
    "Readiness": closed(
        {
            "ready": {"type": "boolean"},
            "checks": {"type": "object", "additionalProperties": TEXT},
        },
        ("ready", "checks"),
    ),
    "Load": {
        "type": "object",
        "properties": {
            name: {"type": "number", "minimum": 0}
            for name in ("queued", "running", "blocked", "waiting", "oldest_ready_seconds")
        },
        "required": ["queued", "running", "blocked", "waiting", "oldest_ready_seconds"],
    },
    "Scale": {
        "allOf": [
            ref("Load"),
            {
                "type": "object",
                "properties": {"queues": {"type": "object", "additionalProperties": ref("Load")}},
                "required": ["queues"],
            },
        ]
    },
    "Limits": closed(
        {"now": TIME, "pools": {"type": "array", "items": ref("LimitPool")}}, ("now", "pools")
    ),
    "LimitPool": closed(
        {
            "pool": {**TEXT, "description": "What its document is called."},
            "provider": TEXT,
            "model": {**maybe(TEXT), "description": "Null where several models share it."},
            "shared_by": {**maybe(TEXT), "description": "The name of what they share."},
            "key": {**maybe(TEXT), "description": "A credential's label; null: all together."},
            "declared": {"type": "boolean", "description": "Whether the settings have it."},
            "in_flight": WHOLE,
            "waiting": WHOLE,
            "held_until": {**maybe(TIME), "description": "As the provider's Retry-After said."},
            "next_admit_at": {**maybe(TIME), "description": "Null: when a call is over."},
            "problem": {**maybe(TEXT), "description": "Why its document cannot be read."},
            "limits": {"type": "array", "items": ref("LimitMeter")},
        },
        ("pool", "provider", "declared", "in_flight", "waiting", "limits"),
    ),
    "LimitMeter": closed(
        {
            "what": {"enum": ["requests", "tokens", "input", "output", "concurrent"]},
            "window_s": {"type": "number", "description": "0: at one time."},
            "amount": {**maybe(WHOLE), "description": "Null where it is not declared."},
            "used": WHOLE,
            "believed": {"type": "number", "description": "Share of it that is believed."},
            "next_admit_at": maybe(TIME),
        },
        ("what", "window_s", "amount", "used", "believed", "next_admit_at"),
    ),
    "Routes": closed(
        {
            "now": TIME,
            "since": {**TIME, "description": "From when on calls are counted."},
            "routes": {"type": "array", "items": ref("ModelRoute")},
        },
        ("now", "since", "routes"),
    ),
    "ModelRoute": closed(
        {
            "route": TEXT,
            "rules": {"type": "object", "description": "What a call has to be like."},
            "sticky": maybe(TEXT),
            "calls": WHOLE,
            "cost_usd": NUMBER,
            "cost_per_call_usd": {**maybe(NUMBER), "description": "Of an answered call."},
            "drill": {
                **maybe(
                    closed(
                        {"target": TEXT, "percent": NUMBER, "until": TIME},
                        ("target", "percent", "until"),
                    )
                ),
                "description": "A failover drill that is under way.",
            },
            "targets": {"type": "array", "items": ref("ModelTarget")},
        },
        ("route", "rules", "calls", "cost_usd", "targets"),
    ),
    "ModelTarget": closed(
        {
            "target": TEXT,
            "provider": maybe(TEXT),
            "model": {**maybe(TEXT), "description": "Null: as the caller says."},
            "base_url": maybe(TEXT),
            "key": {**maybe(TEXT), "description": "A credential's label."},
            "weight": WHOLE,
            "breaker": {"enum": ["closed", "open", "half-open"]},
            "until": {**maybe(TIME), "description": "When an open one may be probed."},
            "failures": {**WHOLE, "description": "Those that a closed one counts."},
            "calls": WHOLE,
            "answered": WHOLE,
            "share": {**maybe(NUMBER), "description": "Of the route's calls."},
            "success": maybe(NUMBER),
            "mean_ms": maybe(WHOLE),
            "cost_usd": NUMBER,
            "cost_per_call_usd": maybe(NUMBER),
        },
        ("target", "breaker", "calls", "answered", "cost_usd"),
    ),
    "Costs": closed(
        {
            "costs": {"type": "array", "items": ref("CostGroup")},
            "total": closed(_COST_SUMS, tuple(_COST_SUMS)),
            "more": {**WHOLE, "description": "Groups beyond the limit."},
            "anomalies": {"type": "array", "items": ref("SpendAnomaly")},
        },
        ("costs", "total", "more", "anomalies"),
    ),
    "SpendAnomaly": closed(
        {
            "hour": {**TEXT, "description": "Of UTC."},
            "credential": {**TEXT, "description": "Its label; empty: none."},
            "spent_usd": NUMBER,
            "usual_usd": {**NUMBER, "description": "The median of the hours before."},
        },
        ("hour", "credential", "spent_usd", "usual_usd"),
    ),
    "CostGroup": closed(
        {"group": {"type": "object", "additionalProperties": TEXT}, **_COST_SUMS},
        ("group", *_COST_SUMS),
    ),
    "BudgetList": closed({"budgets": {"type": "array", "items": ref("Budget")}}, ("budgets",)),
    "Budget": closed(
        {
            "name": TEXT,
            "per": TEXT,
            "subject": {**TEXT, "description": "Whose it is; empty: of all together."},
            "every": {**maybe(TEXT), "description": "When it begins anew; null: never."},
            "hard": {"type": "boolean"},
            "amount_usd": NUMBER,
            "spent_usd": NUMBER,
            "reserved_usd": {**NUMBER, "description": "What calls under way may cost."},
            "planned_usd": {**NUMBER, "description": "What runs have set aside."},
            "left_usd": NUMBER,
            "begins_anew_at": maybe(TIME),
        },
        ("name", "per", "subject", "hard", "amount_usd", "spent_usd", "left_usd"),
    ),
    "HaltList": closed({"halts": {"type": "array", "items": ref("Halt")}}, ("halts",)),
    "Halt": closed(
        {
            "kind": {"enum": ["agent", "tenant"]},
            "name": TEXT,
            "by": TEXT,
            "at": TIME,
            "reason": TEXT,
        },
        ("kind", "name", "by", "at", "reason"),
    ),
    "HaltOrder": closed(
        {
            "kind": {"enum": ["agent", "tenant"]},
            "name": {**TEXT, "minLength": 1, "maxLength": MAX_TEXT, "pattern": NO_NUL},
            "reason": {**TEXT, "maxLength": MAX_TEXT, "pattern": NO_NUL},
        },
        ("kind", "name"),
    ),
    "Explanation": closed(
        {
            "code": TEXT,
            "title": TEXT,
            "status": WHOLE,
            "retryable": {"type": "boolean"},
            "meaning": TEXT,
            "remedy": TEXT,
        },
        ("code", "title", "status", "retryable", "meaning", "remedy"),
    ),
    "ExplanationList": closed(
        {"problems": {"type": "array", "items": ref("Explanation")}}, ("problems",)
    ),
    "Problem": {
        "type": "object",
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": TEXT,
            "status": WHOLE,
            "detail": TEXT,
            "instance": TEXT,
            "code": TEXT,
            "hint": TEXT,
            "retryable": {"const": True},
        },
        "required": ["type", "title", "status", "detail", "instance", "code"],
        "examples": [
            {
                "type": "/problems/not_found",
                "title": "Not found",
                "status": 404,
                "detail": "There is no agent 'great'.",
                "instance": "/api/agents/great/runs",
                "code": "not_found",
                "hint": "Did you mean 'greet'?",
            }
        ],
    },
}
