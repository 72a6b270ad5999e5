"""``GET /api/routes``."""

from __future__ import annotations

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from perdure.runtime.routing import standing
from perdure.server.routes.listing import read_time
from perdure.server.service import Service
from perdure.server.web.answers import Json
from perdure.server.web.choice import single

HOUR = timedelta(hours=1)


class Routing:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def find(self, request: Request) -> Response:
        """Where model calls go: routes, targets, breakers, and what the ledger says of them."""
        given = single(request, {"since"})
        store = self._service.store
        since = read_time(given, "since") or await store.now() - HOUR
        return Json((await standing(store, self._service.config.routes, since)).view())
