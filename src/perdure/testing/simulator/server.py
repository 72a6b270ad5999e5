"""The simulator as a real HTTP server on a thread of its own.

The thread has its own event loop, so a test that blocks its loop does not stall the provider.
Stopping cuts every connection at once: a provider that goes away does not say goodbye.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from perdure.testing.simulator.app import DEFAULT_MODELS, build
from perdure.testing.simulator.brain import Brain, echo
from perdure.testing.simulator.doors import Doors, listen, url_of
from perdure.testing.simulator.faults import Fault
from perdure.testing.simulator.quota.limit import Quota
from perdure.testing.simulator.quota.prompt_cache import PromptCache
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
        self.loop = asyncio.get_running_loop()

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
            server.close()  # once more does nothing
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

    def shut(self, port: int, spare: Any = None) -> None:
        """Stops to listen on a port and cuts its connections, but for the transport ``spare``."""
        for server in self.servers:
            if any(sock.getsockname()[1] == port for sock in server.sockets):
                server.close()
        for connection in list(self.server_state.connections):
            transport = connection.transport
            address = transport.get_extra_info("sockname")
            if transport is not spare and address and address[1] == port:
                transport.abort()

    async def reopen(self, sock: socket.socket) -> None:
        """Serves on one more listening socket."""
        config = self.config

        def protocol() -> asyncio.Protocol:
            made: asyncio.Protocol = _Protocol(
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return made

        loop = asyncio.get_running_loop()
        self.servers.append(await loop.create_server(protocol, sock=sock, backlog=2048))

    def end(self) -> None:
        """Stops the server; safe from any thread."""
        self.loop.call_soon_threadsafe(self._end.set)


async def run(app: Any, sock: socket.socket | Doors, ready: Future[Server]) -> None:
    """Serves on a listening socket, or on all of ``Doors``, until the server, given to ``ready``,
    is ended."""
    config = uvicorn.Config(
        app, http=_Protocol, ws="none", lifespan="off", interface="asgi3", log_config=None,
        access_log=False, proxy_headers=False, server_header=False, timeout_keep_alive=75,
    )  # fmt: skip
    up: Future[None] = Future()
    server = Server(config, up)
    up.add_done_callback(lambda _: ready.set_result(server))
    if isinstance(sock, socket.socket):
        await server.serve([sock])
        return
    sock.server = server
    try:
        await server.serve(sock.sockets())
    finally:
        sock.server = None
        sock.close()


class ProviderSimulator(Steering):
    """A model provider on loopback, for tests.

        async with ProviderSimulator(script(["Hello."])) as sim:
            client = AsyncAnthropic(base_url=sim.url, api_key="any")

    Also a plain context manager, or ``start()`` and ``stop()``. All methods may be called from
    any thread. ``rows`` bounds the ledger; ``port`` 0 takes a free one. ``limits``: see ``Quota``;
    ``cache``: see ``PromptCache``. ``targets``: names that have a port of their own besides being
    served below ``url/NAME``; a mapping says which port.
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
        limits: Iterable[Quota] = (),
        cache: PromptCache | None = None,
        targets: Iterable[str] | Mapping[str, int] = (),
    ) -> None:
        super().__init__(Simulation(brain, faults, rows=rows, limits=limits, cache=cache))
        self._models = models
        ports = targets if isinstance(targets, Mapping) else dict.fromkeys(targets, 0)
        self._address = (host, port, ports)
        self._doors: Doors | None = None
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Listens and serves; returns when it does. Raises PortInUse and InvalidInput."""
        if self._thread is not None:
            raise RuntimeError("the simulator is running")
        self._doors = doors = Doors(*self._address)
        app = build(self.simulation, self._models, doors)
        ready: Future[Server] = Future()

        def body() -> None:
            try:
                asyncio.run(run(app, doors, ready))
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

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``: the base URL for Anthropic clients."""
        return self.target_url("")

    @property
    def openai_url(self) -> str:
        """The base URL for OpenAI clients: ``url`` and ``/v1``."""
        return f"{self.url}/v1"

    def target_url(self, target: str) -> str:
        """Where a named target is reached by a port of its own; OpenAI clients need ``/v1`` after
        it. Raises InvalidInput for a name that is none."""
        if self._doors is None:
            raise RuntimeError("the simulator was never started")
        return self._doors.url(target)

    def down(self, target: str = "", *, seconds: float | None = None) -> None:
        """From now on a target refuses connections, and those it has are cut; ``up`` ends that,
        or the time does. Concerns the target's port, not ``url/NAME``."""
        self._steer(self._running().shut(target, seconds=seconds))

    def up(self, target: str = "") -> None:
        """A target accepts connections again."""
        self._steer(self._running().open(target))

    def _running(self) -> Doors:
        if self._server is None or self._doors is None:
            raise RuntimeError("the simulator is not running")
        return self._doors

    def _steer(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._server is not None
        asyncio.run_coroutine_threadsafe(work, self._server.loop).result()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rsplit(":", 1)[1])
