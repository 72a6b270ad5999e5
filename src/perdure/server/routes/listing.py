"""Listings of runs: which, how many, which of their members, and how to go on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from perdure.core.run import RunState
from perdure.errors import InvalidInput
from perdure.server.run_view import SUMMARY, summary
from perdure.server.web import cursor
from perdure.server.web.answers import Json
from perdure.server.web.choice import MAX_TEXT, chosen, fields
from perdure.store.base import Store
from perdure.store.rows import Filter

MAX_LIMIT = 200
COMMON = frozenset(
    {
        "agent", "tenant", "session", "parent", "label", "trace_id", "idempotency_key",
        "created_after", "created_before", "limit", "cursor", "fields",
    }
)  # fmt: skip
FILTERS = COMMON | {"state"}


async def listing(
    request: Request, store: Store, member: str, known: frozenset[str], base: Filter
) -> Response:
    """A page of runs under ``member``, newest first. ``known`` are the parameters that may be
    there; ``base`` is what they narrow."""
    given = request.query_params.multi_items()
    names = fields(request.query_params.get("fields"), SUMMARY)
    wanted = read_filter(given, known, base)
    # One more than asked for says whether there is another page.
    runs = await store.find(replace(wanted, limit=wanted.limit + 1))
    page = runs[: wanted.limit]
    document: dict[str, Any] = {member: [chosen(summary(run), names) for run in page]}
    headers = {}
    if len(runs) > len(page):
        document["next"] = cursor.make(page[-1].n)
        query = [(name, value) for name, value in given if name != "cursor"]
        url = f"{request.scope['path']}?{urlencode([*query, ('cursor', document['next'])])}"
        headers["Link"] = f'<{url}>; rel="next"'
    return Json(document, headers=headers)


def read_filter(
    parameters: list[tuple[str, str]], known: frozenset[str] = FILTERS, base: Filter | None = None
) -> Filter:
    """``agent``, ``state`` (several, or with commas), ``tenant``, ``session``, ``parent``,
    ``label=name:value`` (several), ``trace_id``, ``idempotency_key``,
    ``created_after``, ``created_before`` (RFC 3339), ``limit``, ``cursor``. Raises
    InvalidInput."""
    single: dict[str, str] = {}
    states: list[RunState] = []
    labels: dict[str, str] = {}
    for name, value in parameters:
        if name not in known:
            raise InvalidInput(
                f"There is no filter {name[:100]!r}.",
                hint=f"Filters: {', '.join(sorted(known))}",
                parameter=name[:100],
            )
        if "\0" in value or len(value) > MAX_TEXT:
            raise InvalidInput(f"{name} has at most {MAX_TEXT} characters, and no NUL.",
                               parameter=name)  # fmt: skip
        if name == "state":
            states += [_state(part) for part in value.split(",")]
        elif name == "label":
            key, colon, text = value.partition(":")
            if not colon or not key:
                raise InvalidInput("label is written as name:value.", parameter="label")
            labels[key] = text
        elif name in single:
            raise InvalidInput(f"{name} is there twice.", parameter=name)
        else:
            single[name] = value
    base = base or Filter()
    return replace(
        base,
        agent=single.get("agent"),
        states=tuple(states) or base.states,
        tenant=single.get("tenant"),
        session=single.get("session"),
        parent=_id(single, "parent"),
        labels=labels,
        trace_id=_trace(single),
        idempotency_key=single.get("idempotency_key"),
        created_after=read_time(single, "created_after"),
        created_before=read_time(single, "created_before"),
        before_n=cursor.place(single["cursor"]) if "cursor" in single else None,
        limit=_limit(single),
    )


def _state(text: str) -> RunState:
    try:
        return RunState(text.strip())
    except ValueError:
        raise InvalidInput(
            f"{text!r} is no state.", hint=f"States: {', '.join(RunState)}", parameter="state"
        ) from None


def read_time(parameters: Mapping[str, str], name: str) -> datetime | None:
    """A parameter's time; None: it is not there. Raises InvalidInput."""
    text = parameters.get(name)
    if text is None:
        return None
    time: datetime | None
    try:
        time = datetime.fromisoformat(text.upper())  # RFC 3339 allows t and z
        time = time.astimezone(UTC) if time.tzinfo is not None else None
    except (ValueError, OverflowError):
        time = None
    if time is None:
        raise InvalidInput(
            f"{name} is a time with its zone, such as 2026-01-31T12:00:00Z; not {text!r}.",
            parameter=name,
        )
    return time


def _id(parameters: Mapping[str, str], name: str) -> str | None:
    text = parameters.get(name)
    try:
        return None if text is None else str(UUID(text))
    except ValueError:
        raise InvalidInput(f"{name} is the id of a run, not {text!r}.", parameter=name) from None


def _trace(parameters: Mapping[str, str]) -> str | None:
    text = parameters.get("trace_id")
    if text is not None and not re.fullmatch(r"(?!0{32})[0-9a-f]{32}", text):
        raise InvalidInput("trace_id is 32 hex digits, not all zero.", parameter="trace_id")
    return text


def _limit(parameters: Mapping[str, str]) -> int:
    text = parameters.get("limit", "50")
    if not (text.isascii() and text.isdecimal() and len(text) < 6) or not (
        1 <= int(text) <= MAX_LIMIT
    ):
        raise InvalidInput(f"limit is between 1 and {MAX_LIMIT}, not {text!r}.", parameter="limit")
    return int(text)
