"""A reverse proxy in front of the model provider, one for each side: it counts what is sent, what
it costs, and stops the clock at the call at which the demo kills.

Invariants: a call that was sent is read to its end whether or not its client still lives, since
the provider bills it either way. A held call is passed on before its client is killed, so it is
truly in flight.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from perdure.demo.brain import step_of
from perdure.gateway.providers import Providers
from perdure.testing.simulator.server import Server, listen, run, url_of

# Hop-by-hop, or true of this connection only; the body goes on uncompressed, to be read here.
_OWN = frozenset(
    {"host", "content-length", "accept-encoding", "connection", "transfer-encoding",
     "content-encoding", "keep-alive", "date", "server"}
)  # fmt: skip


@dataclass(slots=True)
class Call:
    """One model call. Times are ``time.monotonic()``; ``digest`` is the one that Perdure's journal
    has for the same request; ``cut``: its client was killed before the answer came."""

    n: int
    step: str
    digest: str
    started: float
    finished: float | None = None
    status: int | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cut: bool = False

    @property
    def paid(self) -> bool:
        """Whether the provider answered it, and so bills it."""
        return self.status == 200

    @property
    def delivered(self) -> bool:
        """Whether the agent has its answer."""
        return self.paid and self.finished is not None and not self.cut


@dataclass(slots=True)
class Meter:
    """``upstream`` is the provider's base URL. ``held(call)`` is awaited for a call that
    ``holds(call)``, after it was sent on; ``changed()`` is called when something was counted."""

    upstream: str
    holds: Callable[[Call], bool]
    held: Callable[[Call], Awaitable[None]]
    changed: Callable[[], None] = lambda: None
    calls: list[Call] = field(default_factory=list)
    url: str = ""
    _client: httpx2.AsyncClient | None = None
    _server: Server | None = None
    _serving: asyncio.Task[None] | None = None
    _forwards: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT``."""
        return self.url.removeprefix("http://")

    async def start(self) -> None:
        """Listen on a free port of 127.0.0.1."""
        local = self.upstream.startswith("http://127.0.0.1:")
        # The system's proxy is for the world, not for a provider on this machine.
        self._client = httpx2.AsyncClient(
            base_url=self.upstream, timeout=300, trust_env=not local, follow_redirects=False
        )
        app = Starlette(routes=[Route("/{path:path}", self._endpoint, methods=["GET", "POST"])])
        sock = listen("127.0.0.1", 0)
        self.url = url_of(sock)
        ready: Future[Server] = Future()
        self._serving = asyncio.create_task(run(app, sock, ready))
        self._server = await asyncio.wrap_future(ready)

    async def stop(self) -> None:
        """Finish reading what is in flight at the provider, then end."""
        if self._forwards:
            await asyncio.wait(self._forwards, timeout=30)
        for task in self._forwards:
            task.cancel()
        if self._server is not None and self._serving is not None:
            self._server.end()
            await self._serving
        if self._client is not None:
            await self._client.aclose()

    async def _endpoint(self, request: Request) -> Response:
        try:
            body = await request.body()
        except ClientDisconnect:
            return Response(status_code=499)
        call = self._open(request, body)
        forward = _Forward(call, self.changed)
        assert self._client is not None
        task = asyncio.create_task(forward.run(self._client, request, body))
        self._forwards.add(task)
        task.add_done_callback(self._forwards.discard)
        if call is not None and self.holds(call):
            await self.held(call)
        status, headers = await forward.head
        return StreamingResponse(forward.body(), status, headers)

    def _open(self, request: Request, body: bytes) -> Call | None:
        """Count a model call in; other requests pass uncounted."""
        host, _, port = self.host.partition(":")
        known = Providers({self.host: "anthropic"})
        route = known.route(request.method, host, int(port), request.url.path)
        if route is None or route.format is None:
            return None
        question = route.format.ask(route.provider, request.url.path, request.headers, body)
        call = Call(len(self.calls) + 1, _step(body), question.digest.hex(), time.monotonic())
        self.calls.append(call)
        self.changed()
        return call


class _Forward:
    """One request on its way to the provider and back, whoever still listens."""

    def __init__(self, call: Call | None, changed: Callable[[], None]) -> None:
        self.head: asyncio.Future[tuple[int, dict[str, str]]]
        self.head = asyncio.get_running_loop().create_future()
        self._call = call
        self._changed = changed
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def run(self, client: httpx2.AsyncClient, request: Request, body: bytes) -> None:
        """Send, read everything, count."""
        whole, status = b"", 502
        sent = {k: v for k, v in request.headers.items() if k not in _OWN}
        sent["accept-encoding"] = "identity"
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        try:
            async with client.stream(
                request.method, target, headers=sent, content=body
            ) as response:
                headers = {k: v for k, v in response.headers.items() if k not in _OWN}
                self.head.set_result((response.status_code, headers))
                async for chunk in response.aiter_bytes():
                    whole += chunk
                    self._chunks.put_nowait(chunk)
                status = response.status_code
        except httpx2.HTTPError as error:
            if not self.head.done():
                said = {"type": "error", "error": {"type": "api_error", "message": repr(error)}}
                self.head.set_result((502, {"content-type": "application/json"}))
                self._chunks.put_nowait(orjson.dumps(said))
        finally:
            if self._call is not None:
                self._call.status = status
                self._call.finished = time.monotonic()
                self._call.input_tokens, self._call.output_tokens = usage_of(whole)
                self._changed()
            # Counted before the client knows that it has everything.
            self._chunks.put_nowait(None)
            self.head.cancel()  # in case it never came

    async def body(self) -> AsyncIterator[bytes]:
        """What goes back to the client, piece by piece."""
        while (chunk := await self._chunks.get()) is not None:
            yield chunk


def usage_of(answer: bytes) -> tuple[int, int]:
    """(input, output) tokens that an answer reports, streamed or whole. Cached input counts as
    input: the demo's prices know no caching."""
    told: dict[str, int] = {}
    for line in [answer] if answer[:1] == b"{" else answer.splitlines():
        data = _json(line.removeprefix(b"data:").strip())
        for holder in (data, data.get("message")):
            usage = holder.get("usage") if isinstance(holder, dict) else None
            if isinstance(usage, dict):
                told.update({k: v for k, v in usage.items() if isinstance(v, int)})
    inputs = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return sum(told.get(key, 0) for key in inputs), told.get("output_tokens", 0)


def _step(body: bytes) -> str:
    """Which step of the agent asks: read from the last message."""
    messages = _json(body).get("messages")
    last: Mapping[str, Any] = messages[-1] if isinstance(messages, list) and messages else {}
    content = last.get("content", "")
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) for part in content)
    return step_of(str(content))


def _json(data: bytes) -> dict[str, Any]:
    try:
        read = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return read if isinstance(read, dict) else {}
