"""What every request passes: it is counted, and its sender is checked, before any route."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perdure.errors import PerdureError
from perdure.observe.metrics import Traffic
from perdure.server.auth import Access
from perdure.server.keys import READ, WRITE
from perdure.server.web.problems import problem

CALLER = "perdure.caller"  # where the ASGI scope carries who sent the request

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """ASGI middleware. ``probes`` are paths that need no key; ``routes`` names endpoints, so that
    metrics are labelled by a route's template and not by what users put into it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        access: Access,
        traffic: Traffic,
        probes: frozenset[str],
        routes: Mapping[Any, str],
    ) -> None:
        self._app = app
        self._access = access
        self._traffic = traffic
        self._probes = probes
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        method: str = scope.get("method", "GET")
        started = perf_counter()
        answered = False

        async def observed(message: Message) -> None:
            nonlocal answered
            if not answered and message["type"] == "http.response.start":
                answered = True
                self._traffic.answered(
                    method if method in _METHODS else "other",
                    self._routes.get(scope.get("endpoint"), "none"),
                    message["status"],
                    perf_counter() - started,
                )
            await send(message)

        self._traffic.open += 1
        try:
            if scope["path"] not in self._probes:
                try:
                    scope[CALLER] = await self._access.admit(
                        scope, READ if method in _READING else WRITE
                    )
                except PerdureError as error:
                    await problem(error, scope["path"])(scope, receive, observed)
                    return
            await self._app(scope, receive, observed)
        finally:
            self._traffic.open -= 1
