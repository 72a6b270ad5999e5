"""Perdure behind a FastAPI app's own dependencies.

``api.mount("/agents", app)`` puts an App into FastAPI, but FastAPI's dependencies do not reach what
is mounted. A router's routes they do reach, and its lifespan becomes part of the app's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from perdure.app import App
from perdure.errors import MissingExtra
from perdure.server.auth import Caller
from perdure.server.mounted import Mounted
from perdure.server.web.gate import Identify

try:
    from fastapi import APIRouter, Request, WebSocket
    from fastapi.params import Depends
except ImportError:
    raise MissingExtra("perdure.server.fastapi", "fastapi") from None

__all__ = ["Caller", "router"]

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"]


def router(
    app: App | Mounted,
    *,
    dependencies: Sequence[Depends] = (),
    identify: Identify | None = None,
) -> APIRouter:
    """Everything that Perdure serves, as a router: ``api.include_router(router(agents),
    prefix="/agents", dependencies=[Depends(login)])``. It starts and ends with the FastAPI app.
    ``identify`` says who calls, so that no API key is asked for: what a dependency left in
    ``request.state`` is in ``connection.state``. Dependencies that take a ``Request`` do not
    fit WebSockets; ``HTTPConnection`` fits both."""
    mounted = app.asgi(identify=identify) if isinstance(app, App) else app
    routes = APIRouter(lifespan=mounted.lifespan, dependencies=list(dependencies))

    async def http(request: Request) -> Response:
        return _Handover(mounted)

    async def websocket(websocket: WebSocket) -> None:
        await mounted(_under(websocket.scope), websocket.receive, websocket.send)

    routes.add_api_route(
        "/{path:path}", http, methods=_METHODS, include_in_schema=False, response_model=None
    )
    routes.add_api_websocket_route("/{path:path}", websocket)
    return routes


class _Handover(Response):
    """Whatever the app answers."""

    def __init__(self, app: Mounted) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(_under(scope), receive, send)


def _under(scope: Scope) -> Scope:
    """The scope as a mount would make it: what is before the router's own part is the root."""
    root: str = scope.get("root_path", "")
    path: str = scope["path"] if scope["path"].startswith(root) else root + scope["path"]
    rest: str = scope["path_params"]["path"]
    inner: dict[str, Any] = {"path": path, "root_path": path.removesuffix(rest).rstrip("/")}
    return {**scope, **inner, "path_params": {}}
