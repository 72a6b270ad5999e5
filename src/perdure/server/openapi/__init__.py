"""The API's own description, OpenAPI 3.1, at ``/api/openapi.json``."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from perdure.server.openapi.document import document
from perdure.server.web.answers import Json

__all__ = ["document", "show"]


async def show(request: Request) -> Response:
    """Where the app is mounted is where its paths begin."""
    return Json(document(request.scope.get("root_path", "") or "/"))
