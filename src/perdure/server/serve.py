"""Runs the server on uvicorn: binds, serves, drains when told to.

SIGTERM or SIGINT: ``/readyz`` says no, streams end, attempts end between two effects, then the
listening socket closes. A second signal ends it at once; what was leased goes on elsewhere from
its journal.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import uvicorn

from perdure.config import ServerConfig
from perdure.errors import ConfigError, PortInUse
from perdure.server.asgi import make_app
from perdure.server.service import Service

log = logging.getLogger("perdure.server")

# uvicorn's parser in C gathers headers for as long as they come, and loses the body of a request
# that offers to upgrade to HTTP/2, as Java's clients do: it is not chosen where it is installed.
HTTP = "h11"
KEEP_ALIVE = 75  # seconds; longer than load balancers keep their connections (60)
HURRY = 1.0  # seconds to give leases back after a second signal
LAST_ANSWERS = 10  # seconds that requests under way get after everything is drained
BACKLOG = 2048
WORDS = 64 * 1024  # bytes of what a client says over a WebSocket


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server really listens (the port is the actual one where 0 was asked for)."""

    host: str
    port: int

    @property
    def url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def bind(server: ServerConfig) -> socket.socket:
    """A bound socket. Raises PortInUse, ConfigError."""
    where = f"{server.host}:{server.port}"
    if server.port > 65535:
        raise ConfigError(f"server.port = {server.port} is no port: they end at 65535.")
    try:
        # An empty host is every address, as for socket.bind itself.
        found = socket.getaddrinfo(
            server.host or None, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ConfigError(
            f"server.host = {server.host!r} leads to no address: {error.strerror}."
        ) from None
    # The IPv4 address where a name has both: that is what clients of "localhost" try as well.
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"{where} is in use by another process.",
                hint="Stop it, or choose another port: --port 0 takes a free one.",
            ) from None
        raise ConfigError(f"The server cannot listen on {where}: {error.strerror}.") from None
    sock.setblocking(False)
    return sock


class HttpServer:
    """One life of the server. ``stop`` may be called from the event loop; signals do the same.
    ``hurried``: it was told twice, and threads of agent code may be left: exit the process."""

    def __init__(
        self,
        service: Service,
        *,
        on_ready: Callable[[Address], None] | None = None,
        on_signal: Callable[[int], None] | None = None,
        sock: socket.socket | None = None,
    ) -> None:
        """``sock``: bound already, by whoever keeps it open when this life is over."""
        self.service = service
        self._sock = sock
        self.address: Address | None = None
        self.ready = asyncio.Event()
        self._on_ready = on_ready
        self._on_signal = on_signal
        self._told = 0
        self._draining: asyncio.Task[None] | None = None

    @property
    def hurried(self) -> bool:
        return self._told > 1

    async def serve(self) -> None:
        """Serve until stopped. Raises ConfigError, PortInUse, StoreUnavailable, SchemaOutdated,
        SchemaNewer."""
        service = self.service
        sock = self._sock or bind(service.config.server)
        try:
            await service.start()
            host, port = sock.getsockname()[:2]
            self.address = Address(service.config.server.host or host, port)
            self._loop = asyncio.get_running_loop()
            self._server = _Uvicorn(make_app(service), self)
            await self._server.serve(sockets=[sock])
            if self._draining is not None:
                await asyncio.gather(self._draining, return_exceptions=True)
        finally:
            sock.close()
            stopping = asyncio.ensure_future(service.stop())
            # In a hurry nobody waits for a thread of synchronous agent code.
            await asyncio.wait({stopping}, timeout=HURRY if self.hurried else None)
            if stopping.done():
                stopping.result()

    def stop(self) -> None:
        """The first call drains, the second one ends it at once."""
        self._told += 1
        if self._told == 1:
            log.info("Draining: attempts end between two effects. A second signal ends them now.")
            self._draining = self._loop.create_task(self._drain())
        elif self._told == 2:
            if self._draining is not None:
                self._draining.cancel()
            self._server.force_exit = True
            self._server.should_exit = True

    def signalled(self, number: int) -> None:
        """From a signal handler, which may interrupt anything."""
        if self._on_signal is not None:
            self._on_signal(number)
        self._loop.call_soon_threadsafe(self.stop)

    def started(self) -> None:
        """It accepts connections."""
        assert self.address is not None
        self.ready.set()
        if self._on_ready is not None:
            self._on_ready(self.address)

    async def _drain(self) -> None:
        try:
            await self.service.drain()
        finally:
            self._server.should_exit = True


class _Uvicorn(uvicorn.Server):
    """uvicorn with our signals: it neither stops at once nor raises them again at its end."""

    def __init__(self, app: object, owner: HttpServer) -> None:
        super().__init__(
            uvicorn.Config(
                app,  # type: ignore[arg-type]  # Starlette's and uvicorn's ASGI types differ
                http=HTTP,
                lifespan="off",
                log_config=None,
                access_log=False,
                ws="websockets-sansio",
                ws_max_size=WORDS,
                ws_ping_interval=owner.service.config.server.heartbeat.total_seconds(),
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=LAST_ANSWERS,
                backlog=BACKLOG,
            )
        )
        self._owner = owner

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._owner.started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._owner.signalled(sig)
