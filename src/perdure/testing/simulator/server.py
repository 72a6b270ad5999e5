"""The simulator as a real HTTP server on a thread of its own.

The thread has its own event loop, so a test that blocks its loop does not stall the provider.
Stopping cuts every connection at once: a provider that goes away does not say goodbye.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from perdure.errors import PortInUse
from perdure.testing.simulator.app import DEFAULT_MODELS, build
from perdure.testing.simulator.brain import Brain, echo
from perdure.testing.simulator.faults import Fault
from perdure.testing.simulator.simulation import DEFAULT_ROWS, Simulation
from perdure.testing.simulator.steering import Steering

__all__ = ["ProviderSimulator", "Server", "listen", "run", "url_of"]


class _Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's HTTP protocol; shows each request the transport it came by, so that the app can
    break the connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        state: dict[str, Any] = self.app_state  # type: ignore[has-type]
        self.app_state = {**state, "transport": transport}
        super().connection_made(transport)


class Server(uvicorn.Server):
    """uvicorn's server, ended by an event instead of a poll, and without grace."""

    def __init__(self, config: uvicorn.Config, ready: Future[None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._end = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def main_loop(self) -> None:
        self._ready.set_result(None)
        ticks = 0
        while not self._end.is_set():
            await self.on_tick(ticks)
            ticks += 10  # uvicorn renews its date header when this is a multiple of 10
            try:
                async with asyncio.timeout(1.0):
                    await self._end.wait()
            except TimeoutError:
                pass

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks)
        for sock in sockets or ():
            sock.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals belong to whoever started this: see ``serve``

    def end(self) -> None:
        """Stops the server; safe from any thread."""
        self._loop.call_soon_threadsafe(self._end.set)


async def run(app: Any, sock: socket.socket, ready: Future[Server]) -> None:
    """Serves on a listening socket until the server, given to ``ready``, is ended."""
    config = uvicorn.Config(
        app, http=_Protocol, ws="none", lifespan="off", interface="asgi3", log_config=None,
        access_log=False, proxy_headers=False, server_header=False, timeout_keep_alive=75,
    )  # fmt: skip
    up: Future[None] = Future()
    server = Server(config, up)
    up.add_done_callback(lambda _: ready.set_result(server))
    await server.serve([sock])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises PortInUse."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol number is given; without it every answer
    # waits 40 ms for a delayed acknowledgement.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(2048)
    except OSError as error:
        sock.close()
        raise PortInUse(f"The simulator cannot listen on {host}:{port}: {error}") from error
    sock.setblocking(False)
    return sock


def url_of(sock: socket.socket) -> str:
    """Where a listening socket is reached."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class ProviderSimulator(Steering):
    """A model provider on loopback, for tests.

        async with ProviderSimulator(script(["Hello."])) as sim:
            client = AsyncAnthropic(base_url=sim.url, api_key="any")

    Also a plain context manager, or ``start()`` and ``stop()``. All methods may be called from
    any thread. ``rows`` bounds the ledger; ``port`` 0 takes a free one.
    """

    def __init__(
        self,
        brain: Brain = echo,
        faults: Iterable[Fault] = (),
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        rows: int = DEFAULT_ROWS,
        models: tuple[str, ...] = DEFAULT_MODELS,
    ) -> None:
        super().__init__(Simulation(brain, faults, rows=rows))
        self._app = build(self.simulation, models)
        self._address = (host, port)
        self._sock: socket.socket | None = None
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._at: str | None = None

    def start(self) -> Self:
        """Listens and serves; returns when it does. Raises PortInUse."""
        if self._thread is not None:
            raise RuntimeError("the simulator is running")
        sock = listen(*self._address)
        self._at = url_of(sock)
        ready: Future[Server] = Future()

        def body() -> None:
            try:
                asyncio.run(run(self._app, sock, ready))
            except BaseException as error:
                if ready.done():
                    raise
                ready.set_exception(error)

        self._thread = threading.Thread(target=body, name="perdure-simulator", daemon=True)
        self._thread.start()
        self._server = ready.result()
        return self

    def stop(self) -> None:
        """Cuts all connections and ends the thread. What was in flight is aborted."""
        if self._server is None or self._thread is None:
            return
        self._server.end()
        self._thread.join()
        self._server = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``: the base URL for Anthropic clients."""
        if self._at is None:
            raise RuntimeError("the simulator was never started")
        return self._at

    @property
    def openai_url(self) -> str:
        """The base URL for OpenAI clients: ``url`` and ``/v1``."""
        return f"{self.url}/v1"

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rsplit(":", 1)[1])
