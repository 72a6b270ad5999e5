"""The patch of aiohttp, at class level (rule T1): ``ClientSession._request``, where every request
of every session ends, whatever SDK made it.

Outside any run a request costs one look at a context variable. A captured request is served here;
what goes out for it, once for each try, is a request of the same session with a time limit of its
own, so that waiting between tries uses up nobody's. A session that is closed while a stream of it
is still being recorded is given its connections until that has ended (rule C8).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from perdure.core.ports import Boundary, calling
from perdure.gateway.capture import Capture, Refused
from perdure.gateway.exchange import Served
from perdure.gateway.outcome import Incoming
from perdure.gateway.outgoing import Outgoing
from perdure.gateway.patch import LibraryPatch
from perdure.gateway.sessions.failure import failed
from perdure.gateway.sessions.pool import Connectors, sending
from perdure.gateway.sessions.request import read_body
from perdure.gateway.sessions.response import Body, respond
from perdure.gateway.transport.lines import AsyncReach
from perdure.gateway.transport.passing import passing
from perdure.gateway.trip import Call
from perdure.slot import Slot


class SessionPatch(LibraryPatch):
    """Catches the model calls of aiohttp."""

    def __init__(self) -> None:
        self._connectors = Connectors()
        super().__init__(
            Slot(aiohttp.ClientSession, "_request", self._method),
            Slot(aiohttp.ClientSession, "close", self._connectors.close),
            Slot(aiohttp.TCPConnector, "__init__", self._connectors.note),
            Slot(aiohttp.BaseConnector, "connect", self._connectors.connect),
        )

    def _method(self, original: Callable[..., Any]) -> Callable[..., Any]:
        async def _request(session: Any, method: str, str_or_url: Any, **options: Any) -> Any:
            boundary, capture = calling(), self.capture
            if capture is None or (boundary is None and capture.strays is None) or passing.get():
                return await original(session, method, str_or_url, **options)
            send = functools.partial(original, session)
            hold = functools.partial(self._connectors.hold, session)
            served = await _serve(
                capture, boundary, session, Sending(send, hold), method, str_or_url, options
            )
            if served is None:
                return await original(session, method, str_or_url, **options)
            return served

        return _request


class Sending(NamedTuple):
    """How a captured request goes out: ``send`` as the session itself does it; ``hold`` keeps the
    session's connections until what it returns is called."""

    send: Callable[..., Any]
    hold: Callable[[], Callable[[], Any]]


async def _serve(
    capture: Capture,
    boundary: Boundary | None,
    session: aiohttp.ClientSession,
    way_out: Sending,
    method: str,
    str_or_url: Any,
    options: dict[str, Any],
) -> aiohttp.ClientResponse | None:
    """The response to a model call; None for what is none and is to be sent as it is."""
    method = method.upper()
    data, json = options.get("data"), options.get("json")
    if method != "POST" or session.closed or (data is not None and json is not None):
        return None  # nothing to capture, or aiohttp's to complain about
    try:
        url = session._build_url(str_or_url)
        host = url.host or ""
    except ValueError:
        return None
    way = capture.route(boundary, method, host, url.explicit_port, url.path)
    if way is None:
        return None
    headers: CIMultiDict[str] = CIMultiDict(session.headers)
    headers.update(options.get("headers") or {})
    if isinstance(way, Refused):
        served = Served(way.answer)
    elif boundary is None:
        return None
    else:
        body = await read_body(session, data, json, headers)
        call = Call(way.provider, way.wire, host, url.path, headers, body, metered=way.metered)
        again = _again(session, way_out.send, method, url, options, headers, body)
        line = SessionLine(capture, boundary, again, way_out.hold)
        served = await capture.perform(call, line)
    response = await respond(session, method, url.update_query(options.get("params") or {}),
                             headers, served)  # fmt: skip
    return await _checked(session, response, options.get("raise_for_status"))


def _again(
    session: aiohttp.ClientSession,
    send: Callable[..., Any],
    method: str,
    url: URL,
    options: dict[str, Any],
    headers: CIMultiDict[str],
    body: bytes,
) -> Callable[[Outgoing | None], Any]:
    """Sends it once. An answer's status and encoding are the gateway's to look at."""
    ours = {"data": body, "headers": headers, "raise_for_status": False, "auto_decompress": True}
    given = {**options, "json": None, **ours}

    async def again(outgoing: Outgoing | None) -> Any:
        token = sending.set(True)
        try:
            if outgoing is None:
                return await send(method, url, **given)
            target, changed = _changed(session, url, given, headers, outgoing)
            return await send(method, target, **changed)
        finally:
            sending.reset(token)
            given.pop("upload_tracker", None)  # it follows one upload, not several

    return again


def _changed(
    session: aiohttp.ClientSession,
    url: URL,
    given: dict[str, Any],
    headers: CIMultiDict[str],
    outgoing: Outgoing,
) -> tuple[URL, dict[str, Any]]:
    """The request as ``outgoing`` wants it. Headers of the session itself can be replaced only."""
    options = {**given, "headers": CIMultiDict(outgoing.headers_over(headers))}
    if outgoing.body is not None:
        options["data"] = outgoing.body
    if (silence := outgoing.silence) is not None:
        own = options.get("timeout")
        limits = own if isinstance(own, aiohttp.ClientTimeout) else session.timeout
        options["timeout"] = aiohttp.ClientTimeout(
            total=limits.total,
            connect=limits.connect,
            sock_connect=min(limits.sock_connect or silence, silence),
            sock_read=min(limits.sock_read or silence, silence),
        )
    target = URL(outgoing.url).with_query(url.query) if outgoing.url else url
    return target, options


async def _checked(
    session: aiohttp.ClientSession, response: aiohttp.ClientResponse, check: Any
) -> aiohttp.ClientResponse:
    """What ``raise_for_status``, of the request or the session, says to the response."""
    check = session.raise_for_status if check is None else check
    try:
        if callable(check):
            await check(response)
        elif check:
            response.raise_for_status()
    except BaseException:
        response.close()
        raise
    return response


class SessionLine(AsyncReach):
    """See ``gateway.line.Line``. ``again`` sends the request once."""

    def __init__(
        self,
        capture: Capture,
        boundary: Boundary,
        again: Callable[[Outgoing | None], Any],
        hold: Callable[[], Callable[[], Any]],
    ) -> None:
        super().__init__(capture, boundary)
        self._again = again
        self._hold = hold

    async def send(self, outgoing: Outgoing | None) -> Incoming:
        """See ``gateway.line.Line``."""
        release = self._hold()
        try:
            return _Incoming(await self._again(outgoing), release)
        except BaseException as error:
            await release()
            if isinstance(error, Exception) and (failure := failed(error)) is not None:
                raise failure from error
            raise

    def channel(self) -> Body:
        """See ``gateway.line.Line``."""
        return Body(asyncio.get_running_loop())


class _Incoming:
    """See ``outcome.Incoming``."""

    def __init__(self, response: aiohttp.ClientResponse, release: Callable[[], Any]) -> None:
        self._response = response
        self._release: Callable[[], Any] | None = release
        self.status: int = response.status
        self.headers = response.headers

    async def read(self) -> bytes | None:
        """See ``outcome.Incoming``."""
        try:
            return await self._response.content.readany() or None
        except Exception as error:
            if (failure := failed(error)) is None:
                raise
            raise failure from error

    async def close(self) -> None:
        """See ``outcome.Incoming``. A body that was not read to its end takes its connection with
        it; one that was has given it back already."""
        self._response.close()
        release, self._release = self._release, None
        if release is not None:
            await release()
