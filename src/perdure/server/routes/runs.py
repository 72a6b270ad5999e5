"""``POST /api/agents/{agent}/runs``, ``GET /api/runs`` and ``GET /api/runs/{id}``."""

from __future__ import annotations

import asyncio
from time import monotonic

import orjson
from starlette.requests import Request
from starlette.responses import Response

from perdure.core import trace
from perdure.core.ports import About
from perdure.core.run import RunState
from perdure.errors import InvalidInput, NotFound
from perdure.server import direct, submission
from perdure.server.catalog import Known
from perdure.server.routes.events import Events
from perdure.server.routes.listing import FILTERS, listing
from perdure.server.routes.path import run_id_of
from perdure.server.run_view import WHOLE, member, receipt, summary
from perdure.server.service import Service
from perdure.server.start import Started, start
from perdure.server.web.answers import EVENT_STREAM, Json, accepts
from perdure.server.web.choice import chosen, fields
from perdure.server.web.gate import CALLER, CLOCK
from perdure.server.web.limits import parse_json, read_body
from perdure.server.web.wait import Patience, patience
from perdure.store.rows import Filter


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
        request.scope[CLOCK].extend(wanted.seconds)
        until = monotonic() + wanted.seconds
        labels = asked.labels
        await service.headroom(
            About(
                agent=agent.info.name, tenant=request.scope[CALLER].tenant,
                session=labels.get("session", ""), feature=labels.get("feature", ""),
            )
        )  # fmt: skip
        await service.pressure.admit(agent.info.queue)
        started = await start(
            service,
            await submission.new_run(
                asked,
                agent,
                service.blobs,
                tenant=request.scope[CALLER].tenant,
                idempotency_key=submission.idempotency_key(request.headers.get("idempotency-key")),
                trace=trace.accepted(request.headers.get("traceparent")),
                watch=attended,
            ),
            attended=attended,
        )
        if started.task is not None:
            service.pressure.started(agent.info.queue)
        headers = {
            "Location": f"{request.scope.get('root_path', '')}/api/runs/{started.id}",
            **service.pressure.room(agent.info.queue),
        }
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
        state, parent = started.state, started.trace
        if started.task is not None:
            # The attempt goes on whatever happens to this request.
            await asyncio.wait({started.task}, timeout=max(until - monotonic(), 0))
            if started.task.done() and not started.task.cancelled():
                ended = started.task.result() if started.task.exception() is None else None
                if ended is not None and ended.state.final:
                    result = await service.fetched(ended.result)
                    error = orjson.loads(ended.error) if ended.error else None
                    return Json(
                        receipt(started.id, agent, ended.state, parent, result, error), 200, headers
                    )
        if attended:
            run = await service.watches.until_final(started.id, max(until - monotonic(), 0))
            if run is not None and run.state.final:
                run = await service.store.get(started.id)
                result = await service.fetched(run.result)
                shown = receipt(run.id, agent, run.state, run.trace, result, run.error)
                return Json(shown, 200, headers)
            state = run.state if run is not None else state
        if started.replayed:
            parent = (await service.store.get(started.id, payloads=False)).trace
        return Json(receipt(started.id, agent, state, parent, None, None), 202, headers)

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
                durability="none",
            )
        if streamed:
            raise InvalidInput(
                f"Runs of agent {agent.info.name!r} are not stored (durability = none) and have no "
                "events.",
                hint="Accept application/json.",
            )
        request.scope[CLOCK].stop()  # it has a timeout of its own
        worker, tenant = self._service.worker, request.scope[CALLER].tenant
        runtime = None if worker is None else worker.runtime
        run_id, result = await direct.perform(agent.code, asked.input, runtime, tenant=tenant)
        return Json(
            {
                "id": run_id,
                "agent": agent.info.name,
                "state": RunState.SUCCEEDED,
                "trace_id": trace.trace_id(
                    run_id, trace.accepted(request.headers.get("traceparent"))
                ),
                "durability": "none",
                **member("result", result),
            }
        )

    # -- reading ------------------------------------------------------------------------------

    async def show(self, request: Request) -> Response:
        """One run, when it is final or the client's patience is over."""
        service = self._service
        run_id = run_id_of(request)
        names = fields(request.query_params.get("fields"), WHOLE)
        wanted = patience(request, service.config.server.max_wait)
        if wanted.seconds and request.method != "HEAD":
            request.scope[CLOCK].extend(wanted.seconds)
            await service.watches.until_final(run_id, wanted.seconds)
        payloads = [name for name in ("input", "result") if names is None or name in names]
        run = await service.store.get(run_id, payloads=bool(payloads))
        document = summary(run)
        for name in payloads:
            document.update(member(name, await service.fetched(getattr(run, name))))
        headers = {"Preference-Applied": wanted.applied} if wanted.applied else None
        return Json(chosen(document, names), headers=headers)

    async def find(self, request: Request) -> Response:
        """Runs, newest first, a page at a time."""
        return await listing(request, self._service.store, "runs", FILTERS, Filter())
