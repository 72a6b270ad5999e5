"""``POST /api/agents/{agent}/runs``, ``GET /api/runs`` and ``GET /api/runs/{id}``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from time import monotonic
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson
from starlette.requests import Request
from starlette.responses import Response

from perdure.core.run import RunState
from perdure.errors import InvalidInput, NotFound
from perdure.server import direct, submission
from perdure.server.catalog import Known
from perdure.server.routes.events import Events
from perdure.server.routes.path import run_id_of
from perdure.server.run_view import member, receipt, summary
from perdure.server.service import Service
from perdure.server.start import Started, start
from perdure.server.web.answers import EVENT_STREAM, Json, accepts
from perdure.server.web.gate import CALLER
from perdure.server.web.limits import parse_json, read_body
from perdure.server.web.wait import Patience, patience
from perdure.store.rows import Filter

MAX_LIMIT = 200
_FILTERS = frozenset(
    {"agent", "state", "tenant", "label", "created_after", "created_before", "limit", "before"}
)


class Runs:
    def __init__(self, service: Service, events: Events) -> None:
        self._service = service
        self._events = events

    # -- starting -----------------------------------------------------------------------------

    async def create(self, request: Request) -> Response:
        """Start a run; answer at once, when it is final, or with its events."""
        service, limits = self._service, self._service.config.server
        body = await read_body(request.scope, request.receive, limits.max_body)
        asked = submission.read(parse_json(body, limits.max_depth))
        agent = await service.catalog.find(request.path_params["agent"])
        streamed = accepts(request.headers, EVENT_STREAM)
        if agent.info.durability == "none":
            return await self._direct(request, agent, asked, streamed)
        wanted = Patience() if streamed else patience(request, limits.max_wait)
        attended = streamed or wanted.seconds > 0
        until = monotonic() + wanted.seconds
        await service.pressure.admit(agent.info.queue)
        started = await start(
            service,
            await submission.new_run(
                asked,
                agent,
                service.blobs,
                tenant=request.scope[CALLER].tenant,
                idempotency_key=submission.idempotency_key(request.headers.get("idempotency-key")),
                trace=submission.traceparent(request.headers.get("traceparent")),
                watch=attended,
            ),
            attended=attended,
        )
        if started.task is not None:
            service.pressure.started(agent.info.queue)
        headers = {"Location": f"{request.scope.get('root_path', '')}/api/runs/{started.id}"}
        if started.replayed:
            headers["Idempotent-Replayed"] = "true"
        if streamed:
            return self._events.stream(started.id, 0, headers)
        if wanted.applied is not None:
            headers["Preference-Applied"] = wanted.applied
        return await self._answer(started, agent.info.name, attended, until, headers)

    async def _answer(
        self, started: Started, agent: str, attended: bool, until: float, headers: dict[str, str]
    ) -> Response:
        service = self._service
        state = started.state
        if started.task is not None:
            # The attempt goes on whatever happens to this request.
            await asyncio.wait({started.task}, timeout=max(until - monotonic(), 0))
            if started.task.done() and not started.task.cancelled():
                ended = started.task.result() if started.task.exception() is None else None
                if ended is not None and ended.state.final:
                    result = await service.fetched(ended.result)
                    error = orjson.loads(ended.error) if ended.error else None
                    return Json(
                        receipt(started.id, agent, ended.state, result, error), 200, headers
                    )
        if attended:
            run = await service.watches.until_final(started.id, max(until - monotonic(), 0))
            if run is not None and run.state.final:
                run = await service.store.get(started.id)
                result = await service.fetched(run.result)
                return Json(receipt(run.id, agent, run.state, result, run.error), 200, headers)
            state = run.state if run is not None else state
        return Json(receipt(started.id, agent, state, None, None), 202, headers)

    async def _direct(
        self, request: Request, agent: Known, asked: submission.Submission, streamed: bool
    ) -> Response:
        if agent.code is None:
            raise NotFound(
                f"The code of agent {agent.info.name!r}, whose runs are not stored, is not here.",
                hint="Send the request to a server that was started with it.",
            )
        if "idempotency-key" in request.headers or asked.delay is not None:
            raise InvalidInput(
                f"Runs of agent {agent.info.name!r} are not stored (durability = none), so nothing "
                "can be delayed or recognised again.",
                hint="Leave out Idempotency-Key and delay.",
            )
        if streamed:
            raise InvalidInput(
                f"Runs of agent {agent.info.name!r} are not stored (durability = none) and have no "
                "events.",
                hint="Accept application/json.",
            )
        run_id, result = await direct.perform(agent.code, asked.input)
        return Json(
            {
                "id": run_id,
                "agent": agent.info.name,
                "state": RunState.SUCCEEDED,
                "durability": "none",
                **member("result", result),
            }
        )

    # -- reading ------------------------------------------------------------------------------

    async def show(self, request: Request) -> Response:
        """One run, when it is final or the client's patience is over."""
        service = self._service
        run_id = run_id_of(request)
        wanted = patience(request, service.config.server.max_wait)
        if wanted.seconds and request.method != "HEAD":
            await service.watches.until_final(run_id, wanted.seconds)
        run = await service.store.get(run_id)
        document = {
            **summary(run),
            **member("input", await service.fetched(run.input)),
            **member("result", await service.fetched(run.result)),
        }
        headers = {"Preference-Applied": wanted.applied} if wanted.applied else None
        return Json(document, headers=headers)

    async def find(self, request: Request) -> Response:
        """Runs, newest first, a page at a time."""
        filter_ = read_filter(request.query_params.multi_items())
        runs = await self._service.store.find(filter_)
        headers = {}
        document: dict[str, Any] = {"runs": [summary(run) for run in runs]}
        if len(runs) == filter_.limit:
            query = [(k, v) for k, v in request.query_params.multi_items() if k != "before"]
            url = f"{request.url.path}?{urlencode([*query, ('before', runs[-1].id)])}"
            headers["Link"] = f'<{url}>; rel="next"'
            document["next"] = runs[-1].id
        return Json(document, headers=headers)


def read_filter(parameters: list[tuple[str, str]]) -> Filter:
    """``agent``, ``state`` (several, or with commas), ``tenant``, ``label=name:value`` (several),
    ``created_after``, ``created_before`` (RFC 3339), ``limit``, ``before`` (a run's id). Raises
    InvalidInput."""
    single: dict[str, str] = {}
    states: list[RunState] = []
    labels: dict[str, str] = {}
    for name, value in parameters:
        if name not in _FILTERS:
            raise InvalidInput(
                f"There is no filter {name!r}.",
                hint=f"Filters: {', '.join(sorted(_FILTERS))}",
                parameter=name,
            )
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
    return Filter(
        agent=single.get("agent"),
        states=tuple(states),
        tenant=single.get("tenant"),
        labels=labels,
        created_after=_time(single, "created_after"),
        created_before=_time(single, "created_before"),
        before=_cursor(single),
        limit=_limit(single),
    )


def _state(text: str) -> RunState:
    try:
        return RunState(text.strip())
    except ValueError:
        raise InvalidInput(
            f"{text!r} is no state.", hint=f"States: {', '.join(RunState)}", parameter="state"
        ) from None


def _time(parameters: Mapping[str, str], name: str) -> datetime | None:
    text = parameters.get(name)
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise InvalidInput(
            f"{name} is a time with its zone, such as 2026-01-31T12:00:00Z; not {text!r}.",
            parameter=name,
        )
    return time


def _cursor(parameters: Mapping[str, str]) -> str | None:
    text = parameters.get("before")
    try:
        return None if text is None else str(UUID(text))
    except ValueError:
        raise InvalidInput(
            f"before is the id of a run, not {text!r}.", parameter="before"
        ) from None


def _limit(parameters: Mapping[str, str]) -> int:
    text = parameters.get("limit", "50")
    if not text.isdecimal() or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidInput(f"limit is between 1 and {MAX_LIMIT}, not {text!r}.", parameter="limit")
    return int(text)
