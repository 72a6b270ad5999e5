"""The one process-wide patch: the transport classes of a library, caught at class level (rule T1).

Every client of the library ends in ``HTTPTransport.handle_request`` or its asynchronous twin,
whatever SDK made it. Outside any run a request costs a look at two context variables. The patch
is put in once and counts who wants it. Others wrap the same methods (OpenTelemetry): a patch that
is no longer outermost is not pulled out from under them, it only goes blind, and sees again when
it is wanted again.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any

from perdure.core.ports import Boundary, calling
from perdure.gateway.answer import Answer
from perdure.gateway.capture import Capture, Passage, Refused
from perdure.gateway.exchange import Served
from perdure.gateway.line import drive
from perdure.gateway.outgoing import Outgoing
from perdure.gateway.transport.body import AsyncBody, AsyncChannel, SyncBody, SyncChannel
from perdure.gateway.transport.departing import Departs, tracing, tracing_blocking
from perdure.gateway.transport.library import Library, exception, plain_headers
from perdure.gateway.transport.lines import AsyncLine, SyncLine
from perdure.gateway.transport.pools import Pools
from perdure.gateway.trip import Call
from perdure.slot import Slot, Slots

# Marks a request that was captured further out, on its way to the provider.
MARK = "perdure.captured"


class Patch:
    """Catches the model calls of one library."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.pools = Pools(library)
        self.capture: Capture | None = None
        self._users = 0
        self._lock = threading.Lock()
        self._slots = Slots(
            Slot(library.module.AsyncHTTPTransport, "handle_async_request", self._async_method),
            Slot(library.module.HTTPTransport, "handle_request", self._sync_method),
            Slot(library.module.AsyncHTTPTransport, "__init__", self._init_method),
            Slot(library.module.HTTPTransport, "__init__", self._init_method),
        )

    def install(self, capture: Capture) -> None:
        """Puts the patch in, or counts one more user of it. The latest ``capture`` counts."""
        with self._lock:
            self._users += 1
            self.capture = capture
            self._slots.fill()

    def uninstall(self) -> None:
        """Counts one user less; the last takes the patch out."""
        with self._lock:
            self._users = max(0, self._users - 1)
            if self._users:
                return
            self.capture = None
            self._slots.clear()
        self.pools.close()

    # -- the methods that take the place of the library's ---------------------------------------

    def _async_method(self, original: Callable[..., Any]) -> Callable[..., Any]:
        async def handle_async_request(transport: Any, request: Any) -> Any:
            boundary, capture = calling(), self.capture
            if capture is None or (boundary is None and capture.strays is None):
                return await original(transport, request)

            async def send(marked: Any) -> Any:
                lanes = await self.pools.of(transport)
                if lanes is None:
                    return await original(transport, marked)
                return await lanes.send(marked, original)

            if MARK in request.extensions:
                return await send(request)
            served = await serve_async(self.library, capture, boundary, request, send)
            return await original(transport, request) if served is None else served

        return handle_async_request

    def _sync_method(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def handle_request(transport: Any, request: Any) -> Any:
            boundary, capture = calling(), self.capture
            if capture is None or (boundary is None and capture.strays is None):
                return original(transport, request)

            def send(marked: Any) -> Any:
                lanes = self.pools.blocking_of(transport)
                if lanes is None:
                    return original(transport, marked)
                return lanes.send(marked, original)

            if MARK in request.extensions:
                return send(request)
            served = serve_sync(self.library, capture, boundary, request, send)
            return original(transport, request) if served is None else served

        return handle_request

    def _init_method(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def __init__(transport: Any, *args: Any, **kwargs: Any) -> None:
            original(transport, *args, **kwargs)
            if self.capture is not None:
                self.pools.note(transport, original, args, kwargs)

        return __init__


# -- one request, also for the explicit transports ---------------------------------------------


async def serve_async(
    library: Library,
    capture: Capture,
    boundary: Boundary | None,
    request: Any,
    send: Callable[[Any], Any],
) -> Any | None:
    """The response to a model call; None for what is none and is to be sent as it is."""
    way = _route(capture, boundary, request)
    if way is None:
        return None
    if isinstance(way, Refused) or boundary is None:
        return _async_response(library, Served(way.answer)) if isinstance(way, Refused) else None
    body = await request.aread()
    call = _call(way, request, body)

    def once(going: Outgoing | None) -> Any:
        return send(_marked(library, request, body, going, tracing))

    line = AsyncLine(library, capture, boundary, once)
    return _async_response(library, await capture.perform(call, line))


def serve_sync(
    library: Library,
    capture: Capture,
    boundary: Boundary | None,
    request: Any,
    send: Callable[[Any], Any],
) -> Any | None:
    """The same for synchronous clients."""
    way = _route(capture, boundary, request)
    if way is None:
        return None
    if isinstance(way, Refused) or boundary is None:
        return _sync_response(library, Served(way.answer)) if isinstance(way, Refused) else None
    body = request.read()
    call = _call(way, request, body)

    def once(going: Outgoing | None) -> Any:
        return send(_marked(library, request, body, going, tracing_blocking))

    line = SyncLine(library, capture, boundary, once)
    return _sync_response(library, drive(capture.perform(call, line)))


def _route(capture: Capture, boundary: Boundary | None, request: Any) -> Passage | Refused | None:
    url = request.url
    return capture.route(boundary, request.method, url.host, url.port, url.path)


def _call(way: Passage, request: Any, body: bytes) -> Call:
    url = request.url
    headers = plain_headers(request.headers)
    return Call(way.provider, way.wire, url.host, url.path, headers, body, metered=way.metered)


def _marked(
    library: Library,
    request: Any,
    body: bytes,
    outgoing: Outgoing | None,
    traced: Callable[[Departs, Any], Any],
) -> Any:
    """A fresh request for each try. The mark must not be on the SDK's own one: a redirect copies
    its extensions, and would slip through."""
    url, extensions = request.url, {**request.extensions, MARK: True}
    if outgoing is None:
        # Its body has been read, so that its stream can be sent any number of times.
        again = object.__new__(type(request))
        again.__dict__.update(request.__dict__)
        again.extensions = extensions
        return again
    if outgoing.url:
        query = request.url.query
        url = library.module.URL(outgoing.url).copy_with(query=query or None)
    headers = outgoing.headers_over(request.headers)
    body = body if outgoing.body is None else outgoing.body
    if outgoing.silence is not None:
        extensions["timeout"] = _bounded(extensions.get("timeout") or {}, outgoing.silence)
    if outgoing.departs is not None:
        extensions["trace"] = traced(outgoing.departs, extensions.get("trace"))
    return library.module.Request(
        request.method, url, headers=headers, content=body, extensions=extensions
    )


def _bounded(timeout: Mapping[str, float | None], silence: float) -> dict[str, float | None]:
    """A request's timeouts (both libraries' names), with none for an answer above ``silence``."""
    bounded = dict(timeout)
    for name in ("connect", "read"):
        given = bounded.get(name)
        bounded[name] = silence if given is None else min(given, silence)
    return bounded


def _async_response(library: Library, served: Served) -> Any:
    source = served.channel if isinstance(served.channel, AsyncChannel) else served.answer
    body = AsyncBody(source, functools.partial(exception, library))
    return _response(library, served.answer, library.async_stream(body))


def _sync_response(library: Library, served: Served) -> Any:
    source = served.channel if isinstance(served.channel, SyncChannel) else served.answer
    body = SyncBody(source, functools.partial(exception, library))
    return _response(library, served.answer, library.sync_stream(body))


def _response(library: Library, answer: Answer, stream: Any) -> Any:
    headers = [(name.encode(), value.encode()) for name, value in answer.headers]
    return library.module.Response(answer.status, headers=headers, stream=stream)
