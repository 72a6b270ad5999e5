"""``perdure dev``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli import options

if TYPE_CHECKING:
    from perdure.server.serve import Address
    from perdure.server.service import Service


@click.command("dev")
@click.argument("targets", metavar="TARGET...", type=options.TARGET, nargs=-1, required=True)
@options.server_options
@options.worker_options
@options.settings
def command(
    targets: tuple[str, ...],
    host: str | None,
    port: int | None,
    insecure: bool | None,
    concurrency: int | None,
    max_attempt: str | None,
    drain: str | None,
    store: str | None,
    config_file: Path | None,
) -> int:
    """Server and worker in one process, for development.

    Runs are kept in .perdure/perdure.db unless a store is set. Ctrl-C lets runs end between two
    effects; a second Ctrl-C ends at once. Either way they go on at the next start.

    Connections, processes and file writes of agent code outside any effect are reported with
    their line: they would happen again at every replay.
    """
    config = options.load(
        config_file,
        store,
        server__host=host,
        server__port=port,
        server__insecure=insecure,
        worker__concurrency=concurrency,
        worker__max_attempt=max_attempt,
        worker__drain=drain,
    )
    from perdure.cli import process
    from perdure.cli.agents import load_agents
    from perdure.cli.server import serve
    from perdure.cli.terminal.banner import banner
    from perdure.cli.terminal.traffic import PrintedTraffic, print_attempts
    from perdure.runtime.audit import Audit

    process.prepare(config)
    agents = load_agents(targets, config)

    def ready(address: Address, service: Service) -> None:
        banner(agents, address.url, service.store.url)

    def prepare(service: Service) -> None:
        service.traffic = PrintedTraffic()
        Audit().start()
        if service.worker is not None:
            print_attempts(service.worker)

    return serve(config, agents, with_worker=True, on_ready=ready, prepare=prepare)
