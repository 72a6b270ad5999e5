"""The process of ``perdure dev`` that serves: banner, a line for each request and attempt, and
reports of what agent code does outside effects."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping

from perdure.cli import server
from perdure.cli.dev.contacts import tell
from perdure.cli.terminal.banner import banner
from perdure.cli.terminal.traffic import PrintedTraffic, print_attempts
from perdure.config import Config
from perdure.runtime.agent import Agent
from perdure.runtime.audit import Audit
from perdure.server.serve import Address
from perdure.server.service import Service


def serve(
    config: Config,
    agents: Mapping[str, Agent],
    *,
    sock: socket.socket | None = None,
    on_ready: Callable[[Address, Service], None] | None = None,
) -> int:
    """Serve until told to stop; returns the exit code."""

    def ready(address: Address, service: Service) -> None:
        banner(agents, address.url, service.store.url, page=config.server.console)

    def prepare(service: Service) -> None:
        service.traffic = PrintedTraffic()
        Audit(tell).start()
        if service.worker is not None:
            print_attempts(service.worker)

    return server.serve(
        config,
        agents,
        with_worker=True,
        on_ready=on_ready or ready,
        prepare=prepare,
        sock=sock,
    )
