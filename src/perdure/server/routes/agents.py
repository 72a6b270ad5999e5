"""``GET /api/agents`` and ``GET /api/agents/{agent}``."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from perdure.server.catalog import Known
from perdure.server.service import Service
from perdure.server.web.answers import Json
from perdure.server.web.choice import chosen, fields

MEMBERS = frozenset({"name", "framework", "description", "durability", "here"})


class Agents:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def find(self, request: Request) -> Response:
        """All agents, by name."""
        names = fields(request.query_params.get("fields"), MEMBERS)
        known = await self._service.catalog.everything()
        return Json({"agents": [chosen(_view(agent), names) for agent in known.values()]})

    async def show(self, request: Request) -> Response:
        """One agent, with the JSON Schema of its input where its annotations give one."""
        names = fields(request.query_params.get("fields"), MEMBERS | {"input_schema"})
        agent = await self._service.catalog.find(request.path_params["agent"])
        shown = {**_view(agent), "input_schema": agent.info.input_schema}
        return Json(chosen(shown, names))


def _view(agent: Known) -> dict[str, Any]:
    info = agent.info
    return {
        "name": info.name,
        "framework": info.framework,
        "description": info.description,
        "durability": info.durability,
        "here": agent.code is not None,
    }
