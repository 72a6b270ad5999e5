"""Deliveries from answers, faults and refusals: pure but for the facts they note in the row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import orjson

from perdure.testing.simulator.answer import Answer, Delivery, Ending
from perdure.testing.simulator.brain import Reply
from perdure.testing.simulator.faults import Fault
from perdure.testing.simulator.ledger import Row
from perdure.testing.simulator.wire import Wire, WireError

__all__ = ["refuse", "render", "spoil", "strike"]


def render(wire: Wire, row: Row, answer: Answer, reply: Reply) -> Delivery:
    """A good answer, whole or as events."""
    row.http_status = 200
    headers = {**wire.ids(row.digest, row.occurrence), **reply.headers}
    if row.streamed:
        parts = tuple(wire.stream(answer))
        headers["content-type"] = "text/event-stream; charset=utf-8"
        headers["cache-control"] = "no-cache"
    else:
        parts = (orjson.dumps(wire.whole(answer)),)
        headers["content-type"] = "application/json"
    length = None if row.streamed else len(parts[0])
    return Delivery(200, headers, parts, row.streamed, reply.delay, reply.pace, length=length)


def strike(wire: Wire, row: Row, fault: Fault, now: float) -> Delivery | None:
    """A fault that needs no answer: a status, drop, or hang before the first byte; else None."""
    if fault.status is not None:
        return _fail(wire, row, fault, fault.status, now)
    if fault.kind == "drop":
        return Delivery(ending="drop", outcome="broken")
    if fault.kind == "hang" and not fault.after_chunks:
        return Delivery(ending="hang", linger=fault.delay, outcome="broken")
    return None


def spoil(wire: Wire, row: Row, fault: Fault, good: Delivery, now: float) -> Delivery:
    """A good answer with a fault that needs one: slow, break, error, or hang midway."""
    if fault.kind == "slow":
        return replace(good, delay=good.delay + fault.delay)
    if not good.streamed:
        if fault.kind == "error":
            return _fail(wire, row, fault, wire.overloaded, now)
        # A whole answer has no events: half of its bytes stand for some of them.
        parts: tuple[bytes, ...] = (good.parts[0][: len(good.parts[0]) // 2],)
    else:
        sent = min(max(1, fault.after_chunks), len(good.parts) - 1)
        parts = good.parts[:sent]
        if fault.kind == "error":
            spoilt = wire.error_event(fault, sent)
            return replace(good, parts=(*parts, spoilt), outcome="broken")
    ending = cast("Ending", fault.kind)
    return replace(good, parts=parts, ending=ending, linger=fault.delay, outcome="broken")


def _fail(wire: Wire, row: Row, fault: Fault, status: int, now: float) -> Delivery:
    headers: dict[str, str] = {}
    if fault.retry_after is not None:
        headers["retry-after"] = f"{fault.retry_after:g}"
    if status == 429:
        headers.update(wire.exhausted(fault.retry_after or 0.0, now))
    headers.update({name.lower(): value for name, value in fault.headers.items()})
    return refuse(wire, row, WireError(status, fault.message, type=fault.type), headers)


def refuse(
    wire: Wire, row: Row, error: WireError, headers: Mapping[str, str] | None = None
) -> Delivery:
    """An error response in the provider's own form."""
    row.http_status = error.http_status
    ids = wire.ids(row.digest, row.occurrence)
    body = orjson.dumps(wire.error(error, next(iter(ids.values()), "")))
    fields = {"content-type": "application/json", **ids, **(headers or {})}
    return Delivery(error.http_status, fields, (body,), outcome="refused", length=len(body))
