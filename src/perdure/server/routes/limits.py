"""``GET /api/limits``."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from perdure.gateway.standing import standing
from perdure.server.service import Service
from perdure.server.web.answers import Json


class Limits:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def find(self, request: Request) -> Response:
        """How full the declared limits are, over all workers."""
        service = self._service
        found = await standing(await service.meters(), service.config.limits)
        return Json(found.view())
