"""Warm connections, each a transport of its own.

A pool of httpx looks at every connection it has, twice for each request, whether it is still good:
with fifty calls under way that was half of a proxy's time. Here who is done puts their lane on a
stack and the next takes the top one, so what a call costs does not grow with their number, and
the lanes that a burst needed fall asleep at the bottom. There is no bound on how many are in use:
admission to a provider is decided elsewhere.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from typing import Any

from perdure.gateway.transport.library import Library
from perdure.gateway.transport.straight import straight

# Idle connections live this long; providers' load balancers keep them for a minute and more.
KEEPALIVE_S = 55.0
MAX_IDLE = 256  # of one host


class _Stacks:
    """Lanes by host, the one that was used last on top. Safe from any thread."""

    def __init__(
        self, library: Library, cls: Any, options: dict[str, Any], clock: Callable[[], float]
    ) -> None:
        self._module = library.module
        self._cls = cls
        self._options = options
        self._clock = clock
        self._trust: Any = None
        self._idle: dict[Hashable, deque[tuple[float, Any]]] = {}
        self._all: set[Any] = set()
        self._lock = threading.Lock()
        self._swept = clock()
        self._closed = False

    def take(self, host: Hashable) -> Any:
        with self._lock:
            if idle := self._idle.get(host):
                return idle.pop()[1]
        lane = self._make()
        with self._lock:
            self._all.add(lane)
        return lane

    def back(self, host: Hashable, lane: Any) -> list[Any]:
        """``lane`` is free; says which are to be closed."""
        now = self._clock()
        with self._lock:
            idle = self._idle.setdefault(host, deque())
            if self._closed or len(idle) >= MAX_IDLE:
                self._all.discard(lane)
                return [lane]
            idle.append((now, lane))
            return self._stale(now) if now - self._swept > KEEPALIVE_S else []

    def clear(self) -> list[Any]:
        """All of them, those in use too: they are to be closed."""
        with self._lock:
            self._closed = True
            lanes, self._all = list(self._all), set()
            self._idle.clear()
            return lanes

    def _stale(self, now: float) -> list[Any]:
        """Whose connections have been idle for too long, of any host."""
        self._swept = now
        found = []
        for host, idle in list(self._idle.items()):
            while idle and now - idle[0][0] > KEEPALIVE_S:
                found.append(idle.popleft()[1])
            if not idle:
                del self._idle[host]
        self._all.difference_update(found)
        return found

    def _make(self) -> Any:
        if self._trust is None:  # reading the trust store takes longer than a handshake: once
            trusts = self._options.get("trust_env", True)
            self._trust = self._module.create_ssl_context(trust_env=trusts)
        limits = self._module.Limits(
            max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_S
        )
        return self._cls(verify=self._trust, limits=limits, **self._options)


class Lanes:
    """Of one event loop. ``options`` are those of the library's transport."""

    def __init__(
        self,
        library: Library,
        options: dict[str, Any],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        module = library.module
        self._stacks = _Stacks(library, module.AsyncHTTPTransport, options, clock)
        self._stream = type("_LaneStream", (_Stream, module.AsyncByteStream), {})

    async def send(self, request: Any, handle: Callable[[Any, Any], Awaitable[Any]]) -> Any:
        """The response, which has to be closed. ``handle`` has a transport send the request. Raises
        the library's errors."""
        stacks, url = self._stacks, request.url
        host = url.scheme, url.netloc
        lane = stacks.take(host)
        try:
            response = await straight(handle(lane, request))
        except BaseException:
            await self._back(host, lane)
            raise
        response.stream = self._stream(response.stream, self, host, lane)
        return response

    async def close(self) -> None:
        """All of them, those in use too."""
        for lane in self._stacks.clear():
            await lane.aclose()

    async def _back(self, host: Hashable, lane: Any) -> None:
        for ended in self._stacks.back(host, lane):
            await ended.aclose()


class _Stream:
    """A response's body; its lane is free when it is closed."""

    def __init__(self, inner: Any, lanes: Lanes, host: Hashable, lane: Any) -> None:
        self._inner = inner
        self._lanes = lanes
        self._host = host
        self._lane = lane

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._inner)

    async def aclose(self) -> None:
        lane, self._lane = self._lane, None
        if lane is None:
            return
        try:
            await self._inner.aclose()
        finally:
            await self._lanes._back(self._host, lane)


class BlockingLanes:
    """The same for synchronous calls, of one process."""

    def __init__(
        self,
        library: Library,
        options: dict[str, Any],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        module = library.module
        self._stacks = _Stacks(library, module.HTTPTransport, options, clock)
        self._stream = type("_BlockingLaneStream", (_BlockingStream, module.SyncByteStream), {})

    def send(self, request: Any, handle: Callable[[Any, Any], Any]) -> Any:
        """See ``Lanes.send``."""
        stacks, url = self._stacks, request.url
        host = url.scheme, url.netloc
        lane = stacks.take(host)
        try:
            response = handle(lane, request)
        except BaseException:
            self._back(host, lane)
            raise
        response.stream = self._stream(response.stream, self, host, lane)
        return response

    def close(self) -> None:
        """All of them, those in use too."""
        for lane in self._stacks.clear():
            lane.close()

    def _back(self, host: Hashable, lane: Any) -> None:
        for ended in self._stacks.back(host, lane):
            ended.close()


class _BlockingStream:
    """A response's body; its lane is free when it is closed."""

    def __init__(self, inner: Any, lanes: BlockingLanes, host: Hashable, lane: Any) -> None:
        self._inner = inner
        self._lanes = lanes
        self._host = host
        self._lane = lane

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._inner)

    def close(self) -> None:
        lane, self._lane = self._lane, None
        if lane is None:
            return
        try:
            self._inner.close()
        finally:
            self._lanes._back(self._host, lane)
