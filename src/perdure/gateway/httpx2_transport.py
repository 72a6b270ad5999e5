"""Capture under httpx2: the thin adapter, and the transports to hand over explicitly.

    client = httpx2.AsyncClient(transport=AsyncTransport())

does for one client what the patch does for all. Note that httpx2 ignores proxy settings of the
environment when a transport is handed over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2

from perdure.core.ports import calling
from perdure.gateway.capture import Capture
from perdure.gateway.transport.body import AsyncBody, SyncBody
from perdure.gateway.transport.passing import passing
from perdure.gateway.transport.patch import MARK, Patch, serve_async, serve_sync


class _AsyncStream(httpx2.AsyncByteStream):
    def __init__(self, body: AsyncBody) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body.pieces()

    async def aclose(self) -> None:
        self._body.leave()


class _SyncStream(httpx2.SyncByteStream):
    def __init__(self, body: SyncBody) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return self._body.pieces()

    def close(self) -> None:
        self._body.leave()


class _Library:
    module: Any = httpx2

    def async_stream(self, body: AsyncBody) -> httpx2.AsyncByteStream:
        return _AsyncStream(body)

    def sync_stream(self, body: SyncBody) -> httpx2.SyncByteStream:
        return _SyncStream(body)


library = _Library()
patch = Patch(library)
_defaults = Capture()


def _capture(own: Capture | None) -> Capture:
    return own or patch.capture or _defaults


class AsyncTransport(httpx2.AsyncBaseTransport):
    """Captures the model calls that go through it, whether the patch is on or not, and never
    twice. Without ``inner`` captured calls share the loop's warm connections, which closing a
    client leaves open; a given ``inner`` is used for everything and is closed with the client.
    Without ``capture`` the settings of the patch count, or else the defaults.
    """

    def __init__(
        self, inner: httpx2.AsyncBaseTransport | None = None, *, capture: Capture | None = None
    ) -> None:
        self._inner = inner or httpx2.AsyncHTTPTransport()
        self._shares = inner is None
        self._own = capture

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See httpx2.AsyncBaseTransport."""
        boundary = calling()
        if MARK not in request.extensions:
            served: httpx2.Response | None = await serve_async(
                library, _capture(self._own), boundary, request, self._send
            )
            if served is not None:
                return served
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """See httpx2.AsyncBaseTransport."""
        await self._inner.aclose()

    async def _send(self, marked: httpx2.Request) -> httpx2.Response:
        if self._shares:
            lanes = await patch.pools.shared({})
            handle = httpx2.AsyncHTTPTransport.handle_async_request
            response: httpx2.Response = await lanes.send(marked, handle)
            return response
        token = passing.set(True)  # the given one may stand on aiohttp
        try:
            return await self._inner.handle_async_request(marked)
        finally:
            passing.reset(token)


class Transport(httpx2.BaseTransport):
    """The same for synchronous clients."""

    def __init__(
        self, inner: httpx2.BaseTransport | None = None, *, capture: Capture | None = None
    ) -> None:
        self._inner = inner or httpx2.HTTPTransport()
        self._shares = inner is None
        self._own = capture

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """See httpx2.BaseTransport."""
        boundary = calling()
        if MARK not in request.extensions:
            served: httpx2.Response | None = serve_sync(
                library, _capture(self._own), boundary, request, self._send
            )
            if served is not None:
                return served
        return self._inner.handle_request(request)

    def close(self) -> None:
        """See httpx2.BaseTransport."""
        self._inner.close()

    def _send(self, marked: httpx2.Request) -> httpx2.Response:
        if not self._shares:
            return self._inner.handle_request(marked)
        lanes = patch.pools.blocking({})
        response: httpx2.Response = lanes.send(marked, httpx2.HTTPTransport.handle_request)
        return response
