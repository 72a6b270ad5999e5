"""Deliveries from answers, faults and refusals: pure but for the facts they note in the row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import cast

import orjson

from perdure.testing.simulator.answer import Answer, Delivery, Ending
from perdure.testing.simulator.brain import Reply
from perdure.testing.simulator.faults import Fault
from perdure.testing.simulator.ledger import Row
from perdure.testing.simulator.quota.turnstile import Limited
from perdure.testing.simulator.wire import Wire, WireError

__all__ = ["limit", "refuse", "render", "spoil", "strike"]


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
    return Delivery(
        200, headers, parts, row.streamed, reply.delay, reply.pace, length=length, rate=reply.rate,
        produced=_produced(parts, answer.usage.output),
    )  # fmt: skip


def _produced(parts: Sequence[bytes], output: int) -> tuple[int, ...]:
    """How many of ``output`` tokens there are when each part goes out. Where they are those of
    ``count_tokens``, an event's are those of the words so far; else in proportion, rounded up."""
    said = list(accumulate(getattr(part, "said", 0) for part in parts))
    whole = said[-1]
    if whole == 0:
        return (0,) * (len(parts) - 1) + (output,)
    if output == (whole + 3) // 4:
        return tuple((size + 3) // 4 for size in said)
    return tuple(-(-output * size // whole) for size in said)


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
        produced = good.produced
    else:
        sent = min(max(1, fault.after_chunks), len(good.parts) - 1)
        parts, produced = good.parts[:sent], good.produced[:sent]
        if fault.kind == "error":
            spoilt = wire.error_event(fault, sent)
            parts, produced = (*parts, spoilt), (*produced, produced[-1])
            return replace(good, parts=parts, produced=produced, outcome="broken")
    ending = cast("Ending", fault.kind)
    return replace(
        good, parts=parts, produced=produced, ending=ending, linger=fault.delay, outcome="broken"
    )


def limit(wire: Wire, row: Row, limited: Limited) -> Delivery:
    """The refusal of a call that a limit has no room for."""
    headers = {}
    if limited.wait < math.inf:
        headers["retry-after"] = str(math.ceil(limited.wait))
        if row.format in ("chat", "responses"):
            headers["retry-after-ms"] = str(math.ceil(limited.wait * 1000))
    return refuse(wire, row, wire.limited(limited, row.model), headers)


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
