"""Errors from what a server says: problem documents, and how a run ended."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson

from perdure.errors import (
    Backpressure,
    Forbidden,
    NotFound,
    PerdureError,
    RunCancelled,
    RunDead,
    RunError,
    RunFailed,
    Unauthorized,
    Unavailable,
    UsageError,
    tree,
)

_STANDARD = frozenset(
    {"type", "title", "status", "detail", "instance", "code", "hint", "retryable"}
)
_PASSING = (429, 502, 503, 504)
_BY_STATUS: dict[int, type[PerdureError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound}
_ENDS: dict[str, type[RunError]] = {"dead": RunDead, "cancelled": RunCancelled}


def failure(status: int, body: bytes) -> PerdureError:
    """The error that an answer tells of: of the class that its code names, else of one that fits
    its status. ``status`` and the document's own members are in ``detail``."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or "code" not in document:
        text = body[:200].decode("utf-8", "replace").strip() or HTTPStatus(status).phrase
        return _make(_class_of(None, status), f"HTTP {status}: {text}", None, {"status": status})
    detail = {k: v for k, v in document.items() if k not in _STANDARD}
    cls = _class_of(document["code"], status)
    return _make(
        cls,
        str(document.get("detail") or document.get("title") or cls.code),
        document.get("hint"),
        {**detail, "status": status},
    )


def ending(run_id: str, state: str, error: dict[str, Any] | None) -> RunError:
    """How a run ended that did not succeed."""
    error = error or {}
    cls = _ENDS.get(state, RunFailed)
    for known in tree():
        if issubclass(known, RunError) and known.code == error.get("code"):
            cls = known
    name = str(error.get("type", "")).rpartition(":")[2]
    said = ": ".join(part for part in (name, str(error.get("message", ""))) if part)
    return cls(f"Run {run_id} {state}: {said}", hint=error.get("hint"), run=run_id, error=error)


def _class_of(code: str | None, status: int) -> type[PerdureError]:
    for cls in tree():
        if code is not None and cls.code == code:
            return cls
    if status in _PASSING:
        return Unavailable
    return _BY_STATUS.get(status, UsageError if status < 500 else PerdureError)


def _make(
    cls: type[PerdureError], message: str, hint: str | None, detail: dict[str, Any]
) -> PerdureError:
    """Classes have constructors of their own; what they make of it is in the document already."""
    error = cls.__new__(cls, message)
    PerdureError.__init__(error, message, hint=hint, **detail)
    if isinstance(error, Backpressure):
        error.retry_after = float(detail.get("retry_after", 1.0))
    return error
