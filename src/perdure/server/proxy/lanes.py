"""Warm connections to providers, each a transport of its own.

A pool of httpx2 looks at every connection it has, twice for each request, whether it is still good:
with fifty calls under way that was half of a proxy's time. Here who is done puts his lane on a
stack and the next takes the top one, so what a call costs does not grow with their number, and
the lanes that a burst needed fall asleep at the bottom.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any

import httpx2

from perdure.gateway.transport.pools import KEEPALIVE_S, MAX_IDLE

CONNECT_S = 10.0  # connecting takes no longer anywhere


class Lanes:
    """Of one event loop; there is no bound on how many are in use, since admission is decided
    elsewhere."""

    def __init__(self) -> None:
        self._idle: dict[str, list[httpx2.AsyncHTTPTransport]] = {}
        self._all: set[httpx2.AsyncHTTPTransport] = set()
        # Reading the trust store takes longer than a handshake: once for all.
        self._trust = httpx2.create_ssl_context()
        self._limits = httpx2.Limits(
            max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_S
        )

    async def send(
        self,
        method: str,
        url: str,
        query: bytes,
        headers: Any,
        body: bytes,
        silence: float,
    ) -> httpx2.Response:
        """One request. ``silence``: how many seconds nothing may come. The response has to be
        closed. Raises httpx2's errors."""
        where = _url(url) if not query else httpx2.URL(f"{url}?{query.decode('latin-1')}")
        connect = min(CONNECT_S, silence)
        times = {"connect": connect, "read": silence, "write": silence, "pool": connect}
        request = httpx2.Request(
            method, where, headers=headers, content=body, extensions={"timeout": times}
        )
        host = f"{where.scheme}://{where.netloc.decode()}"
        idle = self._idle.setdefault(host, [])
        lane = idle.pop() if idle else self._make()
        try:
            response = await lane.handle_async_request(request)
        except BaseException:
            await self._back(idle, lane)
            raise
        response.stream = _Stream(response.stream, self, idle, lane)
        return response

    async def close(self) -> None:
        """All of them, those in use too."""
        lanes, self._all = self._all, set()
        self._idle.clear()
        for lane in lanes:
            await lane.aclose()

    def _make(self) -> httpx2.AsyncHTTPTransport:
        lane = httpx2.AsyncHTTPTransport(verify=self._trust, limits=self._limits)
        self._all.add(lane)
        return lane

    async def _back(
        self, idle: list[httpx2.AsyncHTTPTransport], lane: httpx2.AsyncHTTPTransport
    ) -> None:
        if len(idle) < MAX_IDLE and lane in self._all:
            idle.append(lane)
        else:
            self._all.discard(lane)
            await lane.aclose()


class _Stream(httpx2.AsyncByteStream):
    """A response's body; its lane is free when it is closed."""

    def __init__(
        self,
        inner: Any,
        lanes: Lanes,
        idle: list[httpx2.AsyncHTTPTransport],
        lane: httpx2.AsyncHTTPTransport,
    ) -> None:
        self._inner = inner
        self._lanes = lanes
        self._idle = idle
        self._lane: httpx2.AsyncHTTPTransport | None = lane

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._inner)

    async def aclose(self) -> None:
        lane, self._lane = self._lane, None
        if lane is None:
            return
        try:
            await self._inner.aclose()
        finally:
            await self._lanes._back(self._idle, lane)


_url = lru_cache(maxsize=256)(httpx2.URL)
