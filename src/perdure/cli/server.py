"""What ``dev`` and ``serve`` have in common: the HTTP server, with a worker in it or without."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping

from perdure.cli import process
from perdure.config import Config
from perdure.runtime.agent import Agent
from perdure.server.serve import Address, HttpServer
from perdure.server.service import Service
from perdure.store import make_store


def serve(
    config: Config,
    agents: Mapping[str, Agent],
    *,
    with_worker: bool,
    on_ready: Callable[[Address, Service], None],
    prepare: Callable[[Service], None] = lambda service: None,
    sock: socket.socket | None = None,
) -> int:
    """Serve until told to stop; returns the exit code: 0 after a drain, 128 + the signal's number
    where a second one came. ``sock``: bound already, by whoever keeps it open."""

    async def main(stop: process.Stop) -> int:
        await process.upgrade_embedded(config)
        store = make_store(config.store.url)
        worker = process.make_worker(config, store, agents) if with_worker else None
        service = Service(agents, config, store, worker)
        prepare(service)
        server = HttpServer(
            service,
            on_ready=lambda address: on_ready(address, service),
            on_signal=stop.told,
            sock=sock,
        )
        stop.bound(worker)
        if worker is None:
            await server.serve()
        else:
            async with process.capturing(config, worker.runtime):
                await server.serve()
        if server.hurried:
            process.leave(stop.exit_code)
        return 0

    return process.run_process(main)
