"""``WS /api/runs/{id}/ws``: a run's log over a WebSocket, for clients that cannot read SSE.

Each event is one text message, the same JSON as elsewhere. ``?after=`` resumes. Invariant: it is
the log (E1), contiguous and in order, read a page at a time as fast as the client takes it; one
that takes nothing for a while is sent away, and comes back with the last seq it has.

A key comes as a header, as the subprotocol ``perdure.key.<key>`` beside ``perdure.v1``, or in the
first message: ``{"type": "auth", "key": "pk_…"}``. A silent stream says ``{"type": "ping"}``.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from perdure.errors import PerdureError, Unauthorized
from perdure.server.event_view import view
from perdure.server.keys import READ
from perdure.server.routes.events import Events, position
from perdure.server.routes.path import run_id_of
from perdure.server.service import Service
from perdure.server.web.gate import CALLER, SUBPROTOCOL, deny
from perdure.server.web.problems import document

FIRST_WORD = 10.0  # seconds that a client has to send its key
DONE, REFUSED, AWAY, SLOW = 1000, 1008, 1012, 1013  # IANA's registry of close codes


class Socket:
    def __init__(self, service: Service, events: Events) -> None:
        self._service = service
        self._events = events

    async def follow(self, socket: WebSocket) -> None:
        """Serve one connection to its end."""
        try:
            after = position(socket)
            run_id = run_id_of(socket)
            known = socket.scope[CALLER] is not None
            if known:
                await self._service.store.get(run_id, payloads=False)
        except PerdureError as error:
            await deny(error, socket.scope, socket.receive, socket.send)
            return
        asked = socket.scope["subprotocols"]
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in asked else None)
        try:
            if not known:
                await self._introduced(socket)
            await self._serve(socket, run_id, after)
        except PerdureError as error:
            shown = document(error, socket.scope)
            await self._say(socket, {"type": "problem", "data": shown})
            await socket.close(REFUSED, error.code)
        except WebSocketDisconnect:
            pass
        except TimeoutError:
            await self._close_slow(socket)

    async def _introduced(self, socket: WebSocket) -> None:
        """The key in the first message. Raises Unauthorized, Forbidden."""
        try:
            async with asyncio.timeout(FIRST_WORD):
                word = _word(await socket.receive_text())
        except TimeoutError:
            word = {}
        if word.get("type") != "auth" or not isinstance(word.get("key"), str):
            raise Unauthorized(
                "An API key is needed.",
                hint='Send it first: {"type": "auth", "key": "pk_…"}',
            )
        socket.scope[CALLER] = await self._service.access.admit(socket.scope, READ, word["key"])

    async def _serve(self, socket: WebSocket, run_id: str, after: int) -> None:
        run = await self._service.store.get(run_id, payloads=False)
        listening = asyncio.create_task(_listen(socket))
        sending = asyncio.create_task(self._send(socket, run_id, after, run.state.final))
        try:
            await asyncio.wait({listening, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (listening, sending):
                task.cancel()
            await asyncio.gather(listening, sending, return_exceptions=True)

    async def _send(self, socket: WebSocket, run_id: str, after: int, final: bool) -> None:
        async for page in self._events.pages(run_id, after, final):
            if not page:
                await self._say(socket, {"type": "ping"})
            for event in page:
                await self._say(socket, view(event))
        await socket.close(AWAY if self._service.draining else DONE)

    async def _say(self, socket: WebSocket, word: dict[str, Any]) -> None:
        """Raises TimeoutError for a client that takes nothing."""
        async with asyncio.timeout(self._service.config.server.request_timeout.total_seconds()):
            await socket.send_text(orjson.dumps(word).decode())

    async def _close_slow(self, socket: WebSocket) -> None:
        try:
            async with asyncio.timeout(1):
                await socket.close(SLOW, "too slow; come back with ?after=")
        except TimeoutError:
            pass  # the close frame waits behind what the client does not take


async def _listen(socket: WebSocket) -> None:
    """Take what the client says until it leaves; only its pings are answered."""
    try:
        while True:
            word = _word(await socket.receive_text())
            if word.get("type") == "ping":
                await socket.send_text('{"type":"pong"}')
    except (WebSocketDisconnect, RuntimeError):
        pass  # it is gone


def _word(text: str) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    return found if isinstance(found, dict) else {}
