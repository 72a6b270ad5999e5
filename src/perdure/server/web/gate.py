"""What every request passes, before any route: it is counted, its sender is checked, and it has
only so much time until its answer begins.

WebSockets are let in here by whatever they bring (a header, a subprotocol) or are marked as still
unknown, so that their route can ask for a key in the first message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any

from starlette._utils import get_route_path
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perdure.errors import PerdureError, Unauthorized, Unavailable
from perdure.observe.metrics import Traffic
from perdure.server.auth import Access, Caller, presented
from perdure.server.keys import READ, WRITE
from perdure.server.web.problems import problem

CALLER = "perdure.caller"  # where the ASGI scope carries who sent the request
INSIDE = "perdure.inside"  # set by the process itself: who calls, without a key
CLOCK = "perdure.clock"  # and its Clock
SUBPROTOCOL = "perdure.v1"
KEY_PROTOCOL = "perdure.key."  # before an API key, in the list of subprotocols

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})

Identify = Callable[[HTTPConnection], Caller | Awaitable[Caller]]


class Clock:
    """The time that a request has until its answer begins. Whoever is asked to wait extends it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> Clock:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(self, *about: Any) -> None:
        await self._timeout.__aexit__(*about)

    def extend(self, seconds: float) -> None:
        """So much longer, from now on."""
        loop = asyncio.get_running_loop()
        if not self._timeout.expired():
            self._timeout.reschedule(loop.time() + self._seconds + seconds)

    def stop(self) -> None:
        """The answer has begun, or takes as long as it takes."""
        if not self._timeout.expired():
            self._timeout.reschedule(None)

    @property
    def expired(self) -> bool:
        return self._timeout.expired()


class Gate:
    """ASGI middleware. ``probes`` are paths that need no key, or that begin with one that ends in
    a slash; ``routes`` names endpoints, so that metrics are labelled by a route's template and not
    by what users put into it. With ``identify`` the host app says who calls, and no key is asked
    for."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        access: Access,
        traffic: Traffic,
        probes: frozenset[str],
        routes: Mapping[Any, str],
        seconds: float,
        identify: Identify | None = None,
    ) -> None:
        self._app = app
        self._access = access
        self._traffic = traffic
        self._probes = probes
        # The page at "/" is open, and not everything below it.
        self._open = tuple(path for path in probes if path.endswith("/") and path != "/")
        self._routes = routes
        self._seconds = seconds
        self._identify = identify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope.get("method", "GET")
        started = perf_counter()
        answered = False
        clock = scope[CLOCK] = Clock(self._seconds)

        async def observed(message: Message) -> None:
            nonlocal answered
            if not answered and message["type"] == "http.response.start":
                answered = True
                clock.stop()
                self._traffic.answered(
                    method if method in _METHODS else "other",
                    self._routes.get(scope.get("endpoint"), "none"),
                    message["status"],
                    perf_counter() - started,
                )
            await send(message)

        self._traffic.open += 1
        try:
            async with clock:
                path = get_route_path(scope)
                if path not in self._probes and not path.startswith(self._open):
                    needed = READ if method in _READING else WRITE
                    try:
                        scope[CALLER] = await self._who(scope, needed)
                    except PerdureError as error:
                        await problem(error, scope)(scope, receive, observed)
                        return
                await self._app(scope, receive, observed)
        except TimeoutError:
            if not clock.expired or answered:
                raise
            late = Unavailable(
                f"No answer within {self._seconds:g} s (server.request_timeout).",
                hint="What was asked for may have been done all the same: ask again with the same "
                "Idempotency-Key, or look at the run.",
            )
            await problem(late, scope)(scope, receive, observed)
        finally:
            self._traffic.open -= 1

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._traffic.open += 1
        try:
            try:
                scope[CALLER] = await self._who(scope, READ, offered(scope["subprotocols"]))
            except Unauthorized as error:
                # One that brought nothing at all may send its key as its first message.
                if offered(scope["subprotocols"]) or presented(scope["headers"]):
                    await deny(error, scope, receive, send)
                    return
                scope[CALLER] = None
            except PerdureError as error:
                await deny(error, scope, receive, send)
                return
            await self._app(scope, receive, send)
        finally:
            self._traffic.open -= 1

    async def _who(self, scope: Scope, needed: str, key: str | None = None) -> Caller:
        inside: Caller | None = scope.get(INSIDE)
        if inside is not None:
            return inside
        if self._identify is None:
            return await self._access.admit(scope, needed, key)
        found = self._identify(HTTPConnection(scope))
        return found if isinstance(found, Caller) else await found


def offered(subprotocols: list[str]) -> str | None:
    """The API key among a WebSocket's subprotocols: what a browser can send."""
    for one in subprotocols:
        if one.startswith(KEY_PROTOCOL):
            return one.removeprefix(KEY_PROTOCOL)
    return None


async def deny(error: PerdureError, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a WebSocket before it is one: with a problem document where the server can."""
    await receive()  # websocket.connect
    if "websocket.http.response" in scope.get("extensions", {}):
        await problem(error, scope)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": error.code})
