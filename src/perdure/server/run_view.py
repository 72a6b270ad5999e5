"""A run as clients see it. Results and inputs are JSON as they were stored; raw bytes are base64
text, and then ``result_encoding`` (``input_encoding``) says so.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import orjson

from perdure.codec import RAW
from perdure.core.run import RunState
from perdure.core.trace import trace_id
from perdure.store.rows import Run

_PLAIN = (
    "id", "agent", "state", "tenant", "queue", "priority", "session", "attempts", "max_attempts",
    "epoch", "created_at", "started_at", "finished_at", "ready_at", "wake_at", "deadline_at",
    "worker", "parent", "depth", "generation", "cancel_requested", "waits", "labels",
    "dismissed_at",
)  # fmt: skip


SUMMARY = frozenset({*_PLAIN, "trace_id", "traceparent", "error"})
WHOLE = SUMMARY | {"input", "result"}


def summary(run: Run) -> dict[str, Any]:
    """What lists show: everything but input and result (see :func:`member`)."""
    out: dict[str, Any] = {name: getattr(run, name) for name in _PLAIN}
    out["trace_id"] = trace_id(run.id, run.trace)
    out["traceparent"] = run.trace
    out["error"] = failure(run.error)
    return out


def receipt(
    run_id: str,
    agent: str,
    state: RunState,
    trace: str | None,
    result: bytes | None,
    error: dict[str, Any] | None,
) -> dict[str, Any]:
    """The answer to whoever started a run: what it is called and, as far as it is known, how it
    ended."""
    out: dict[str, Any] = {
        "id": run_id,
        "agent": agent,
        "state": state,
        "trace_id": trace_id(run_id, trace),
    }
    if state is RunState.SUCCEEDED:
        out.update(member("result", result))
    elif state.final:
        out["error"] = failure(error)
    return out


def failure(document: dict[str, Any] | None) -> dict[str, Any] | None:
    """A failure document (``codec.encode_failure``) without what only a replay needs."""
    if document is None:
        return None
    return {k: v for k, v in document.items() if k != "args" and v is not None}


def member(name: str, data: bytes | None) -> dict[str, Any]:
    """A payload (codec bytes, blobs fetched) under ``name``."""
    if data is None:
        return {name: None}
    if data[:1] == RAW:
        return {name: b64encode(data[1:]).decode(), f"{name}_encoding": "base64"}
    return {name: orjson.Fragment(data)}
