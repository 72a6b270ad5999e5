"""Runs the proxy on uvicorn: binds, serves, drains when told to.

The first signal lets calls under way end; a second one ends it at once.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from perdure.config import Config, ServerConfig
from perdure.server.proxy.app import App
from perdure.server.proxy.going import Gone
from perdure.server.proxy.proxy import Proxy, running
from perdure.server.serve import BACKLOG, HTTP, KEEP_ALIVE, LAST_ANSWERS, Address, bind
from perdure.store.base import Store

log = logging.getLogger("perdure.proxy")


def _unexpected(record: logging.LogRecord) -> bool:
    """A connection that is broken off on purpose is no news."""
    return not (record.exc_info and isinstance(record.exc_info[1], Gone))


async def serve(
    config: Config,
    store: Store,
    *,
    on_ready: Callable[[Address], None],
    on_signal: Callable[[int], None],
) -> None:
    """Serve until told to stop. Raises ConfigError, PortInUse, StoreUnavailable."""
    where = ServerConfig(host=config.proxy.host, port=config.proxy.port)
    sock = bind(where)
    try:
        host, port = sock.getsockname()[:2]
        async with running(config, store) as proxy:
            address = Address(config.proxy.host or host, port)
            server = _Uvicorn(proxy, lambda: on_ready(address), on_signal)
            await server.serve(sockets=[sock])
    finally:
        sock.close()


class _Uvicorn(uvicorn.Server):
    """uvicorn with our signals."""

    def __init__(
        self, proxy: Proxy, on_ready: Callable[[], None], on_signal: Callable[[int], None]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                App(proxy),
                http=HTTP,
                lifespan="off",
                log_config=None,
                access_log=False,
                ws="none",
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=LAST_ANSWERS,
                backlog=BACKLOG,
            )
        )
        logging.getLogger("uvicorn.error").addFilter(_unexpected)
        self._proxy = proxy
        self._on_ready = on_ready
        self._on_signal = on_signal
        self._told = 0
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._loop = asyncio.get_running_loop()
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._on_signal(sig)
        self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        self._told += 1
        if self._told == 1:
            log.info("Draining: calls under way end. A second signal ends them now.")
            self._draining = self._loop.create_task(self._drain())
        else:
            self.force_exit = True
            self.should_exit = True

    async def _drain(self) -> None:
        try:
            await self._proxy.drain()
        finally:
            self.should_exit = True
