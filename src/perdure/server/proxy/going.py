"""How one call of the proxy reaches its provider."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2

from perdure.gateway.capture import Capture
from perdure.gateway.httpx2_transport import library
from perdure.gateway.outcome import Incoming
from perdure.gateway.outgoing import Outgoing
from perdure.gateway.transport.lines import AsyncLine
from perdure.gateway.trip import Call
from perdure.runtime.outside import Outside
from perdure.server.proxy.wire import Wire

# How long an answer may take is for the trip, and the proxy's own timeout, to say; this is for a
# provider that says nothing at all.
SILENCE_S = 600.0


class Gone(Exception):
    """The answer broke where it cannot be said in its own format: the connection has to."""


class Line(AsyncLine):
    """See ``gateway.line.Line``. ``url`` is where the call goes where no target says otherwise.
    ``sent``: it was put on the wire."""

    def __init__(
        self,
        capture: Capture,
        boundary: Outside,
        wire: Wire,
        call: Call,
        url: str,
        query: bytes,
    ) -> None:
        super().__init__(library, capture, boundary, self._send_once)
        self._wire = wire
        self._call = call
        self._url = url
        self._query = query
        self._left = False
        self.sent = False

    def leave(self) -> None:
        """Nobody waits for the answer: it is not asked for again."""
        self._left = True

    async def send(self, outgoing: Outgoing | None) -> Incoming:
        """See ``gateway.line.Line``."""
        if self._left:
            raise asyncio.CancelledError
        self.sent = True
        return await super().send(outgoing)

    async def _send_once(self, outgoing: Outgoing | None) -> httpx2.Response:
        call = self._call
        where, body, silence, departs = self._url, call.body, SILENCE_S, None
        headers: Any = call.headers
        if outgoing is not None:
            where = outgoing.url or where
            headers = outgoing.headers_over(call.headers)
            body = body if outgoing.body is None else outgoing.body
            silence = silence if outgoing.silence is None else min(silence, outgoing.silence)
            departs = outgoing.departs
        return await self._wire.send("POST", where, self._query, headers, body, silence, departs)
