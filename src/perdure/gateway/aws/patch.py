"""The patch of botocore, at class level (rule T1): ``URLLib3Session.send``, where every request of
every client ends, those made before the patch too.

Handlers of the public ``before-send`` event (moto, stubs) come first, and what they answer never
gets here. The event itself is not used: it reaches only clients made later, and a handler does not
know how its client connects (decision 15).

botocore does not heed ``x-should-retry`` and would ask again for what the gateway has given up, so
it is told through the method that decides it (rule F4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.endpoint import Endpoint
from botocore.httpsession import URLLib3Session

from perdure.core.ports import Boundary, calling
from perdure.gateway.answer import FINAL
from perdure.gateway.aws.failure import failed
from perdure.gateway.aws.response import respond
from perdure.gateway.capture import Capture, Refused
from perdure.gateway.exchange import Served
from perdure.gateway.line import drive
from perdure.gateway.outcome import Incoming
from perdure.gateway.outgoing import Outgoing
from perdure.gateway.patch import LibraryPatch
from perdure.gateway.transport.body import SyncChannel
from perdure.gateway.transport.lines import SyncReach
from perdure.gateway.transport.passing import passing
from perdure.gateway.trip import Call
from perdure.slot import Slot


class BotocorePatch(LibraryPatch):
    """Catches the model calls of botocore."""

    def __init__(self) -> None:
        super().__init__(
            Slot(URLLib3Session, "send", self._send_method),
            Slot(Endpoint, "_needs_retry", self._retry_method),
        )

    def _send_method(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def send(session: Any, request: Any) -> Any:
            boundary, capture = calling(), self.capture
            if capture is None or (boundary is None and capture.strays is None):
                return original(session, request)
            served = _serve(capture, boundary, request, lambda: original(session, request))
            return original(session, request) if served is None else respond(request, served)

        return send

    def _retry_method(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def _needs_retry(
            endpoint: Any, attempts: Any, model: Any, asked: Any, response: Any = None,
            caught_exception: Any = None,
        ) -> Any:  # fmt: skip
            name, final = FINAL
            if response is not None and response[0].headers.get(name) == final:
                return False
            return original(endpoint, attempts, model, asked, response, caught_exception)

        return _needs_retry


def _serve(
    capture: Capture, boundary: Boundary | None, request: Any, send: Callable[[], Any]
) -> Served | None:
    """What a model call gets; None for what is none and is to be sent as it is."""
    url = urlsplit(request.url)
    host, path = url.hostname or "", unquote(url.path)
    way = capture.route(boundary, request.method, host, url.port, path)
    if isinstance(way, Refused):
        return Served(way.answer)
    if way is None or boundary is None:
        return None
    headers, body = _plain(request.headers), _body(request)
    call = Call(way.provider, way.wire, host, path, headers, body, metered=way.metered)
    line = _Line(capture, boundary, request, send)
    return drive(capture.perform(call, line))


def _plain(headers: Any) -> Mapping[str, str]:
    """Their values may be bytes."""
    return {
        name.lower(): value.decode("latin-1") if isinstance(value, bytes) else str(value)
        for name, value in headers.items()
    }


def _body(request: Any) -> bytes:
    body = request.body
    if hasattr(body, "read"):
        whole = body.read()
        request.reset_stream()
        body = whole
    return body.encode() if isinstance(body, str) else bytes(body or b"")


class _Line(SyncReach):
    """See ``gateway.line.Line``. ``send`` sends the request once."""

    def __init__(
        self, capture: Capture, boundary: Boundary, request: Any, send: Callable[[], Any]
    ) -> None:
        super().__init__(capture, boundary)
        self._request = request
        self._send = send

    async def send(self, outgoing: Outgoing | None) -> Incoming:
        """See ``gateway.line.Line``. What is sent is signed already: it cannot be changed."""
        if outgoing is not None:
            raise RuntimeError("a signed request was to be sent otherwise")
        token = passing.set(True)  # it goes through urllib3, which is looked at as well
        try:
            self._request.reset_stream()
            return _Incoming(self._send(), streamed=self._request.stream_output)
        except Exception as error:
            if (failure := failed(error)) is None:
                raise
            raise failure from error
        finally:
            passing.reset(token)

    def channel(self) -> SyncChannel:
        """See ``gateway.line.Line``."""
        return SyncChannel()


class _Incoming:
    """See ``outcome.Incoming``; never suspends."""

    def __init__(self, response: Any, *, streamed: bool) -> None:
        self._raw = response.raw
        # botocore has read the body already unless it is wanted as a stream.
        self._pieces: Iterator[bytes] = (
            response.raw.stream() if streamed else iter([response.content])
        )
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes | None:
        """See ``outcome.Incoming``."""
        try:
            return next((piece for piece in self._pieces if piece), None)
        except Exception as error:
            if (failure := failed(error)) is None:
                raise
            raise failure from error

    async def close(self) -> None:
        """See ``outcome.Incoming``. A connection whose body was read to its end is back in its
        pool by then."""
        self._raw.close()
