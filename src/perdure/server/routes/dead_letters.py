"""``GET /api/dead-letters`` and what an operator does with one: ``/redrive``, ``/dismiss``.

A dead letter is a run that is out of attempts and has not been put aside."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from perdure.core.run import RunState
from perdure.errors import Conflict
from perdure.server.routes.listing import COMMON, listing
from perdure.server.routes.path import run_id_of
from perdure.server.run_view import summary
from perdure.server.service import Service
from perdure.server.web.answers import Json
from perdure.server.web.gate import CALLER
from perdure.server.web.limits import read_body
from perdure.store.rows import Filter

LETTERS = Filter(states=(RunState.DEAD,), dismissed=False)


class DeadLetters:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def find(self, request: Request) -> Response:
        """Dead letters, newest first, a page at a time."""
        return await listing(request, self._service.store, "dead_letters", COMMON, LETTERS)

    async def redrive(self, request: Request) -> Response:
        """It goes on from its journal with fresh attempts."""
        run_id = run_id_of(request)
        await self._drain(request)
        run = await self._service.store.get(run_id, payloads=False)
        if run.state is not RunState.DEAD:
            raise Conflict(f"The run {run_id} {run.state.says}: it is no dead letter.",
                           hint=f"POST /api/runs/{run_id}/redrive", state=run.state)  # fmt: skip
        return Json(summary(await self._service.store.redrive(run_id)))

    async def dismiss(self, request: Request) -> Response:
        """It is put aside, and kept."""
        run_id = run_id_of(request)
        await self._drain(request)
        who = request.scope[CALLER].name
        return Json(summary(await self._service.store.dismiss(run_id, who=who)))

    async def again(self, request: Request) -> Response:
        """``POST /api/runs/{id}/redrive``: also for failed runs, and for waiting ones, which look
        again."""
        run_id = run_id_of(request)
        await self._drain(request)
        return Json(summary(await self._service.store.redrive(run_id)))

    async def _drain(self, request: Request) -> None:
        """These take no body; one that is there is read up to its limit."""
        limit = self._service.config.server.max_body
        await read_body(request.scope, request.receive, limit)
