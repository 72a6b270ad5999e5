"""Proof that capture holds (rule T2): a call on loopback through every HTTP library that is
installed and claimed to be covered, asynchronous and synchronous, under a boundary that only
listens. A library update that moves what the patch relies on is found here, before an agent runs
unrecorded."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from perdure.core.charge import Charge
from perdure.core.ports import About, Ticket, current_boundary
from perdure.errors import ConfigError
from perdure.gateway.installation import installed, patches
from perdure.gateway.late import AIOHTTP, BOTOCORE
from perdure.gateway.transport.patch import Patch

_REQUEST = b'{"model":"probe","max_tokens":1,"messages":[]}'
_ANSWER = b'{"type":"message","content":[]}'
_PATH = "/v1/messages"


class CaptureBroken(ConfigError):
    """Model calls through a library would not be captured."""

    code = "capture_broken"


class _Ticket:
    key = b"probe"
    live = True
    state = ""
    value = b""
    noted = b""

    def __init__(self) -> None:
        self.ends: list[str] = []

    async def done(
        self, value: bytes, *, request: Sequence[bytes] | None = None, took: timedelta | None = None
    ) -> None:
        self.ends.append("done")

    async def failed(self, value: bytes, *, request: Sequence[bytes] | None = None) -> None:
        self.ends.append("failed")

    def abandoned(self) -> None:
        self.ends.append("abandoned")

    def delta(self, data: bytes) -> None:
        pass

    def warning(self, code: str, message: str) -> None:
        pass

    def charge(self, charge: Charge) -> None:
        pass

    async def rest(self, until: datetime, detail: str, note: bytes) -> None:
        raise RuntimeError("a probe's call waits for nothing")

    async def again(self, note: bytes) -> None:
        raise RuntimeError("a probe's call is made once")


class _Listener:
    """A boundary that lets everything go out and counts it."""

    run_id = "probe"
    agent = "probe"

    def __init__(self) -> None:
        self.tickets: list[_Ticket] = []

    async def request(
        self, kind: str, name: str, digest: bytes, *, promise: str = "reads", streamed: bool = False
    ) -> Ticket:
        self.tickets.append(_Ticket())
        return self.tickets[-1]

    def request_blocking(
        self, kind: str, name: str, digest: bytes, *, promise: str = "reads", streamed: bool = False
    ) -> Ticket:
        self.tickets.append(_Ticket())
        return self.tickets[-1]

    def wait_blocking(self, what: Coroutine[Any, Any, Any]) -> Any:
        try:
            what.send(None)
        except StopIteration as stop:
            return stop.value
        raise RuntimeError("a probe's ticket does not wait")

    about = About()

    async def carry_out(self, what: Coroutine[Any, Any, Any]) -> Any:
        return await what

    def pump(self, body: Callable[[], Awaitable[None]]) -> Awaitable[None]:
        return asyncio.ensure_future(_run(body))

    def pump_blocking(self, body: Callable[[], None]) -> None:
        threading.Thread(target=body, daemon=True).start()


async def _run(body: Callable[[], Awaitable[None]]) -> None:
    await body()


async def prove() -> list[str]:
    """Makes a call through each covered library; returns their names. aiohttp and botocore
    are among them if an agent has imported them by now.

    Raises CaptureBroken naming the library that does not hold, ConfigError without ``install``.
    """
    capture = installed()
    if capture is None:
        raise ConfigError("There is no capture to prove.", hint="Call gateway.install() first.")
    proven = []
    with _loopback() as port:
        before = capture.providers
        capture.providers = before.adding({f"127.0.0.1:{port}": "anthropic"})
        try:
            for patch in patches():
                await _prove(patch, f"http://127.0.0.1:{port}{_PATH}")
                proven.append(patch.library.module.__name__)
            if AIOHTTP.module in sys.modules:
                await _prove_aiohttp(f"http://127.0.0.1:{port}{_PATH}")
                proven.append("aiohttp")
            if BOTOCORE.module in sys.modules:
                await _prove_botocore(f"http://127.0.0.1:{port}{_PATH}")
                proven.append("botocore")
        finally:
            capture.providers = before
    return proven


async def _prove(patch: Patch, url: str) -> None:
    module = patch.library.module

    async def call() -> None:
        async with module.AsyncClient(trust_env=False) as client:
            await client.post(url, content=_REQUEST)

    def call_blocking() -> None:
        with module.Client(trust_env=False) as client:
            client.post(url, content=_REQUEST)

    listener = _Listener()
    context = contextvars.copy_context()
    context.run(current_boundary.set, listener)
    await asyncio.get_running_loop().create_task(call(), context=context)
    _check(listener, f"{module.__name__}.AsyncClient", module)
    listener.tickets.clear()
    await asyncio.to_thread(context.run, call_blocking)
    _check(listener, f"{module.__name__}.Client", module)


async def _prove_aiohttp(url: str) -> None:
    import aiohttp

    async def call() -> None:
        async with aiohttp.ClientSession() as session, session.post(url, data=_REQUEST) as answer:
            await answer.read()

    listener = _Listener()
    context = contextvars.copy_context()
    context.run(current_boundary.set, listener)
    await asyncio.get_running_loop().create_task(call(), context=context)
    _check(listener, "aiohttp.ClientSession", aiohttp)


async def _prove_botocore(url: str) -> None:
    import botocore
    from botocore.awsrequest import AWSRequest
    from botocore.httpsession import URLLib3Session

    def call() -> None:
        URLLib3Session().send(AWSRequest("POST", url, data=_REQUEST).prepare())

    listener = _Listener()
    context = contextvars.copy_context()
    context.run(current_boundary.set, listener)
    await asyncio.to_thread(context.run, call)
    _check(listener, "botocore's URLLib3Session", botocore)


def _check(listener: _Listener, what: str, module: Any) -> None:
    ends = [end for ticket in listener.tickets for end in ticket.ends]
    if ends != ["done"]:
        how = "was not seen" if not listener.tickets else f"was recorded as {ends or 'nothing'}"
        raise CaptureBroken(
            f"A model call through {what} {how}: capture does not hold under "
            f"{module.__name__} {module.__version__}.",
            hint="Something replaced the transport's methods, or this version is not supported: "
            "pin the version before, or hand perdure.gateway.AsyncTransport to your clients.",
        )


@contextmanager
def _loopback() -> Iterator[int]:
    """A server that answers every POST."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(_ANSWER)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(_ANSWER)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
