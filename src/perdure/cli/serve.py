"""``perdure serve``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli import options

if TYPE_CHECKING:
    from perdure.server.serve import Address
    from perdure.server.service import Service


@click.command("serve")
@click.argument("targets", metavar="TARGET...", type=options.TARGET, nargs=-1, required=True)
@options.server_options
@click.option("--worker/--no-worker", default=True, help="Execute runs in this process too (yes).")
@options.worker_options
@options.settings
def command(
    targets: tuple[str, ...],
    host: str | None,
    port: int | None,
    insecure: bool | None,
    worker: bool,
    concurrency: int | None,
    max_attempt: str | None,
    drain: str | None,
    store: str | None,
    config_file: Path | None,
) -> int:
    """The HTTP server, with a worker in it or without.

    A PostgreSQL database has to have this version's schema (perdure db upgrade); an SQLite file is
    upgraded. With --no-worker runs are left to other processes: perdure worker TARGET.
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

    process.prepare(config)
    agents = load_agents(targets, config)

    def ready(address: Address, service: Service) -> None:
        what = "with a worker" if worker else "without a worker"
        process.tell(
            config, f"Serving {', '.join(agents)} at {address.url} {what} on {service.store.url}"
        )

    return serve(config, agents, with_worker=worker, on_ready=ready)
