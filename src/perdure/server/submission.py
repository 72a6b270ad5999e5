"""A request to start a run, as a client writes it, and the run it becomes.

The body is ``{"input": any JSON, "labels": {…}, "priority": n, "timeout": seconds, "delay":
seconds}``; everything may be left out and nothing else may be there.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any

import orjson

from perdure.codec import canonical
from perdure.errors import InvalidInput
from perdure.server.catalog import Known
from perdure.store.blobs import MAX_INLINE, Blobs
from perdure.store.ids import new_run_id
from perdure.store.rows import Idempotency, NewRun

MAX_LABELS = 32
MAX_LABEL = 256  # characters of a label's name or value
MAX_KEY = 255  # characters of an Idempotency-Key
KEY_PATTERN = r"""^("([ !#-\[\]-~]|\\["\\])+"|[!#-~]([ !#-~]*[!#-~])?)$"""
MAX_PRIORITY = 32767
YEAR = 366 * 86400.0

_MEMBERS = frozenset({"input", "labels", "priority", "timeout", "delay"})


@dataclass(frozen=True, slots=True)
class Submission:
    """``input`` is codec bytes; ``body`` is the hash that an Idempotency-Key is bound to (X3)."""

    input: bytes
    body: bytes
    labels: dict[str, str] = field(default_factory=dict)
    priority: int | None = None
    timeout: timedelta | None = None
    delay: timedelta | None = None


def read(document: Any) -> Submission:
    """Raises InvalidInput, which names the member."""
    if not isinstance(document, dict):
        raise InvalidInput(
            "The body is a JSON object whose member 'input' is the agent's input.",
            hint='Example: {"input": "hello"}',
        )
    unknown = sorted(document.keys() - _MEMBERS)
    if unknown:
        raise InvalidInput(
            f"The body has a member {unknown[0]!r} that means nothing here.",
            hint=f"Members: {', '.join(sorted(_MEMBERS))}; the agent's own go into 'input'.",
            member=unknown[0],
        )
    data = orjson.dumps(document.get("input"))
    if len(document) == 1 and "input" in document:  # nearly all of them
        return Submission(data, sha256(canonical(document)).digest())
    return Submission(
        input=data,
        body=sha256(canonical(document)).digest(),
        labels=_labels(document.get("labels")),
        priority=_priority(document.get("priority")),
        timeout=_seconds(document, "timeout", least=0.001),
        delay=_seconds(document, "delay", least=0.0),
    )


async def new_run(
    submission: Submission,
    agent: Known,
    blobs: Blobs,
    *,
    tenant: str,
    idempotency_key: str | None,
    trace: str | None,
    watch: bool,
    lease_to: str | None = None,
) -> NewRun:
    """The run to enqueue; a large input is put into the blob store. Raises InvalidInput where
    the agent's code is here and says so."""
    data = submission.input
    if agent.code is not None:
        agent.code.validate(data)
    if len(data) > MAX_INLINE:
        data = await asyncio.to_thread(blobs.put, data)
    intake = agent.info.intake
    more: dict[str, Any] = {}
    if intake.cap is not None:
        more["cap"] = (f"agent:{agent.info.name}", intake.cap)
    if idempotency_key is not None:
        more["idempotency"] = Idempotency(idempotency_key, submission.body)
    return NewRun(
        id=new_run_id(),
        agent=agent.info.name,
        input=data,
        queue=agent.info.queue,
        tenant=tenant,
        delay=submission.delay,
        timeout=submission.timeout or intake.timeout,
        priority=intake.priority if submission.priority is None else submission.priority,
        max_attempts=intake.max_attempts,
        labels=submission.labels,
        trace=trace,
        lease_to=None if submission.delay is not None else lease_to,
        watch=watch,
        **more,
    )


def idempotency_key(header: str | None) -> str | None:
    """The value of ``Idempotency-Key``: a quoted string (draft -07) or a bare one. Raises
    InvalidInput."""
    if header is None:
        return None
    key = header.strip()
    if len(key) > MAX_KEY or not re.fullmatch(KEY_PATTERN, key):
        raise InvalidInput(
            f"Idempotency-Key is 1 to {MAX_KEY} ASCII characters, or a quoted string of them."
        )
    return re.sub(r"\\(.)", r"\1", key[1:-1]) if key[0] == '"' else key


def _labels(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    fits = isinstance(value, dict) and all(
        isinstance(text, str)
        and 1 <= len(name) <= MAX_LABEL
        and len(text) <= MAX_LABEL
        and "\0" not in name + text
        for name, text in value.items()
    )
    if not fits or len(value) > MAX_LABELS:
        raise InvalidInput(
            f"labels is an object of at most {MAX_LABELS} texts of at most {MAX_LABEL} characters, "
            "without NUL.",
            member="labels",
        )
    labels: dict[str, str] = value
    return labels


def _priority(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON has one kind of number
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_PRIORITY:
        raise InvalidInput(
            f"priority is a whole number between -{MAX_PRIORITY} and {MAX_PRIORITY}.",
            member="priority",
        )
    return value


def _seconds(document: dict[str, Any], name: str, *, least: float) -> timedelta | None:
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= YEAR:
        raise InvalidInput(
            f"{name} is a number of seconds between {least:g} and {YEAR:g}.", member=name
        )
    return timedelta(seconds=value)
