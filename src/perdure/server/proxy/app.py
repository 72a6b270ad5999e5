"""The proxy's ASGI app: model calls in the providers' own formats, the list of models, the probes.

Written for ASGI itself: nothing is between a provider's stream and its reader but the gateway.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from perdure.errors import (
    Forbidden,
    InvalidInput,
    NotFound,
    PerdureError,
    TooLarge,
    Unavailable,
)
from perdure.gateway.answer import FINAL, Answer
from perdure.gateway.exchange import Served
from perdure.gateway.formats import Format
from perdure.gateway.formats.anthropic import MESSAGES
from perdure.gateway.formats.openai import CHAT
from perdure.gateway.outcome import SendFailed
from perdure.gateway.refusal import refuse, refuse_error
from perdure.gateway.request import SHAPES
from perdure.gateway.transport.body import AsyncChannel
from perdure.gateway.trip import Call
from perdure.runtime.outside import Outside, Patience
from perdure.server.proxy import headers as passing
from perdure.server.proxy.callers import Caller
from perdure.server.proxy.going import Gone, Line
from perdure.server.proxy.proxy import Proxy
from perdure.server.proxy.runs import Inside
from perdure.server.proxy.upstreams import Asked
from perdure.server.web.limits import read_body

log = logging.getLogger("perdure.proxy")

PROBES = {"/healthz": "health", "/readyz": "ready", "/metrics": "metrics"}
# Nothing is paid for these, so nothing of them is metered.
FREE = frozenset({"/v1/messages/count_tokens"})
# Reverse proxies in front of this one gather answers unless they are told not to.
_UNBUFFERED = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
_NO_MODEL = ""


class App:
    """Over a ``proxy`` that someone else starts and stops."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])  # uvicorn closes it
        path = scope["path"]
        if path in PROBES:
            await self._probe(PROBES[path], send)
            return
        exchange = _Exchange(self._proxy, scope, receive, send)
        self._proxy.traffic.open += 1
        try:
            await exchange.serve()
        except ClientDisconnect:
            pass
        finally:
            self._proxy.traffic.open -= 1

    async def _probe(self, name: str, send: Send) -> None:
        status, kind, body = await getattr(self._proxy.probes, name)()
        await _send_whole(send, status, [(b"content-type", kind)], body)


class _Exchange:
    """One request and its answer."""

    def __init__(self, proxy: Proxy, scope: Scope, receive: Receive, send: Send) -> None:
        self._proxy = proxy
        self._scope = scope
        self._receive = receive
        self._send = send
        self._began = perf_counter()
        self._route = "other"
        path = scope["path"]
        # Errors are in the words of whose API the path is.
        self._wire: Format = MESSAGES if "/messages" in path else CHAT

    async def serve(self) -> None:
        try:
            await self._serve()
        except PerdureError as error:
            await self._whole(_refusal(self._wire, error))
        except _Late as late:
            await self._whole(refuse(self._wire, late.status, f"perdure: {late}"))
        except (ClientDisconnect, Gone):
            raise
        except Exception:
            log.exception("A request could not be served")
            words = "perdure: the proxy made a mistake; its log says more"
            await self._whole(refuse(self._wire, 500, words))

    async def _serve(self) -> None:
        proxy, method = self._proxy, self._scope["method"]
        headers = passing.read(self._scope["headers"], proxy.settings.max_headers)
        if self._wire is CHAT and "anthropic-version" in headers:
            self._wire = MESSAGES
        caller = await proxy.callers.identify(self._scope, headers)
        asked = proxy.upstreams.find(self._scope["path"])
        if asked.wire is not None:
            self._wire = asked.wire
        models = asked.path.removeprefix("/v1/models")
        if method == "GET" and (not models or models[:1] == "/") and models != asked.path:
            self._route = "/v1/models"
            listing = proxy.models.anthropic if self._wire is MESSAGES else proxy.models.openai
            document = await listing(caller.grant, models[1:])
            await self._json(document)
            return
        if method != "POST":
            raise NotFound(
                f"{method} {asked.path} is not among what the proxy passes on.", hint=_KNOWN
            )
        self._route = asked.path
        if proxy.draining:
            raise Unavailable("The proxy is being stopped.", hint="Ask another one, or again.")
        body = await self._body()
        if asked.wire is None:
            if asked.path not in FREE:
                raise NotFound(f"{asked.path} is not among what the proxy passes on.", hint=_KNOWN)
            await self._free(asked, caller, headers, body)
            return
        await self._call(asked, asked.wire, caller, headers, body)

    async def _body(self) -> bytes:
        settings = self._proxy.settings
        try:
            async with asyncio.timeout(settings.body_timeout.total_seconds()):
                return await read_body(self._scope, self._receive, settings.max_body)
        except TimeoutError:
            words = "the request's body did not come in time (proxy.body_timeout)"
            raise _Late(408, words) from None
        except TooLarge as error:
            raise TooLarge(error.message, hint="Settings: proxy.max_body.") from None

    # -- a model call -------------------------------------------------------------------------

    async def _call(
        self,
        asked: Asked,
        wire: Format,
        caller: Caller,
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        proxy = self._proxy
        _permit(caller, wire, body)
        credential = proxy.upstreams.credential(asked.upstream, wire)
        out = passing.upstream(headers, credential, own=caller.own)
        call = Call(
            asked.upstream.provider,
            wire,
            asked.upstream.host,
            asked.path,
            out,
            body,
            asked.upstream.key,
        )
        patience = Patience(proxy.settings.max_wait.total_seconds(), proxy.gate.now)
        if caller.passed is None:
            boundary = Outside(caller.about, patience, proxy.keep, proxy.spend)
        else:
            boundary = Inside(
                proxy.runs, caller.passed, caller.about, patience, proxy.keep, proxy.spend
            )
        if wire.name not in SHAPES:
            proxy.count("perdure_unmetered_calls_total", host=call.host)
        where = asked.upstream.url(asked.path)
        line = Line(
            proxy.capture, boundary, proxy.wire, call, where, self._scope.get("query_string", b"")
        )
        work = asyncio.ensure_future(proxy.capture.perform(call, line))
        served = await self._answered(work, line)
        if served is None:
            return
        if isinstance(served.channel, AsyncChannel):
            await self._stream(served.answer, served.channel)
        else:
            await self._whole(_when_to_come_again(served.answer, patience))

    async def _answered(self, work: asyncio.Future[Served], line: Line) -> Served | None:
        """The answer; None where nobody waits for it any longer. What was sent by then is carried
        to its end for the ledger, what was not is not sent."""
        gone = asyncio.ensure_future(_gone(self._receive))
        seconds = self._proxy.settings.timeout.total_seconds()
        both: set[asyncio.Future[Any]] = {work, gone}
        try:
            await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._leave(work, line)
            raise
        finally:
            gone.cancel()
        if work.done():
            return work.result()
        self._leave(work, line)
        if not gone.done():
            raise _Late(504, "no answer came in time (proxy.timeout); a stream begins sooner")
        self._told(499)
        return None

    def _leave(self, work: asyncio.Future[Served], line: Line) -> None:
        line.leave()
        if line.sent:
            self._proxy.keep(_finished(work))
        else:
            work.cancel()

    async def _stream(self, answer: Answer, channel: AsyncChannel) -> None:
        """Passes pieces on as they come. A reader that goes away is not noticed and need not be:
        the pump carries the stream to its end by itself."""
        self._told(answer.status)
        await self._start(answer.status, [*_headers(answer), *_UNBUFFERED])
        last = b"\n\n"
        while True:
            item = await channel.get()
            if not isinstance(item, bytes):
                break
            last = item
            await self._send({"type": "http.response.body", "body": item, "more_body": True})
        if item is None:
            await self._send({"type": "http.response.body", "body": b""})
            return
        # Between two events the reader can be told in the format's own words. Within one, or where
        # they are not events, only a connection that breaks says that the answer is not whole.
        if last.endswith((b"\n\n", b"\r\n\r\n")) and "event-stream" in _content_type(answer):
            words = item.message if isinstance(item, SendFailed) else "it could not be recorded"
            event = self._wire.error(502, f"perdure: the stream broke: {words}")
            name = b"event: error\n" if self._wire is MESSAGES else b""
            data = name + b"data: " + orjson.dumps(event) + b"\n\n"
            await self._send({"type": "http.response.body", "body": data})
            return
        raise Gone

    # -- what is no model call ----------------------------------------------------------------

    async def _free(
        self, asked: Asked, caller: Caller, headers: Mapping[str, str], body: bytes
    ) -> None:
        _permit(caller, self._wire, body, free=True)
        self._proxy.count("perdure_unmetered_calls_total", host=asked.upstream.host)
        credential = self._proxy.upstreams.credential(asked.upstream, MESSAGES)
        out = passing.upstream(headers, credential, own=caller.own)
        status, kept, content = await self._proxy.pass_on(
            asked.upstream.url(asked.path), self._scope.get("query_string", b""), out, body
        )
        await self._whole(Answer(status, kept, content))

    # -- answers ------------------------------------------------------------------------------

    def _told(self, status: int) -> None:
        seconds = perf_counter() - self._began
        self._proxy.traffic.answered(self._scope["method"], self._route, status, seconds)

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _whole(self, answer: Answer) -> None:
        self._told(answer.status)
        await _send_whole(self._send, answer.status, _headers(answer), answer.body)

    async def _json(self, document: Any) -> None:
        await self._whole(
            Answer(200, (("content-type", "application/json"),), orjson.dumps(document))
        )


_KNOWN = (
    "Known: POST /v1/messages, /v1/chat/completions, /v1/responses, /v1/embeddings; GET /v1/models."
)


class _Late(Exception):
    """Someone was not in time; ``status`` says who."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


async def _finished(work: asyncio.Future[Served]) -> None:
    """A call whose asker is gone; a stream of it is pumped anyway."""
    try:
        await work
    except Exception:
        log.debug("A call without a reader failed", exc_info=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _permit(caller: Caller, wire: Format, body: bytes, *, free: bool = False) -> None:
    """Raises Forbidden, InvalidInput."""
    grant = caller.grant
    if grant.models:
        model = _model(body)
        if not grant.allows(model):
            raise Forbidden(
                f"This key may not call {model or 'an unnamed model'}.",
                hint=f"It may call: {', '.join(grant.models)}",
            )
    if grant.usd is not None and wire.name not in SHAPES and not free:
        raise Forbidden(
            "This key has a budget, and what such a call costs cannot be bounded.",
            hint="Use a key without a budget of its own for it.",
        )


def _model(body: bytes) -> str:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidInput("The body is no JSON, so that its model is not known.") from None
    model = fields.get("model") if isinstance(fields, dict) else None
    return model if isinstance(model, str) else _NO_MODEL


def _refusal(wire: Format, error: PerdureError) -> Answer:
    """One of our own refusals. SDKs try those again that may go otherwise the next time."""
    answer = refuse_error(wire, error)
    if not error.retryable:
        return answer
    kept = tuple(header for header in answer.headers if header != FINAL)
    return Answer(answer.status, kept, answer.body)


def _when_to_come_again(answer: Answer, patience: Patience) -> Answer:
    """A call that found no room may come again, and is told when."""
    if patience.retry_after is None or answer.status != 429:
        return answer
    kept = tuple(header for header in answer.headers if header != FINAL)
    seconds = str(math.ceil(patience.retry_after))
    return Answer(429, (*kept, ("retry-after", seconds)), answer.body)


def _headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]


def _content_type(answer: Answer) -> str:
    return dict(answer.headers).get("content-type", "")


async def _send_whole(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})
