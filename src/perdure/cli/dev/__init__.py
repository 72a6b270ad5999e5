"""``perdure dev``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli import options

if TYPE_CHECKING:
    from perdure.cli.dev.order import Order


@click.command("dev")
@click.argument("targets", metavar="TARGET...", type=options.TARGET, nargs=-1, required=True)
@click.option(
    "--reload/--no-reload",
    default=sys.platform != "win32",
    help="Serve changed code as soon as it is saved (yes; not on Windows).",
)
@click.option(
    "--gateway", is_flag=True, help="The proxy beside it, for programs that agents start (no)."
)
@options.server_options
@options.worker_options
@options.settings
def command(
    targets: tuple[str, ...],
    reload: bool,
    gateway: bool,
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

    When a file that the agents were loaded from is saved, the new code is loaded beside the old;
    then runs end between two effects and go on in the new code, on the same port. Code that cannot
    be loaded is shown with file and line, and the old goes on serving. With --no-reload nothing is
    watched, and all is one process (for debuggers).

    Connections, processes and file writes of agent code outside any effect are reported with
    their line: they would happen again at every replay.

    With --gateway, perdure gateway runs beside it on the same store, and perdure.subprocess_env()
    leads programs that agents start there, in whatever language they are.
    """
    from perdure.cli.dev.order import Order

    order = Order(
        targets,
        config_file,
        store,
        {
            "server__host": host,
            "server__port": port,
            "server__insecure": insecure,
            "worker__concurrency": concurrency,
            "worker__max_attempt": max_attempt,
            "worker__drain": drain,
        },
    )
    if reload and sys.platform == "win32":
        raise click.UsageError("--reload does not work on Windows.")
    if gateway:
        from perdure.cli.dev.beside import beside

        with beside(order) as order:
            return _serve(order, reload)
    return _serve(order, reload)


def _serve(order: Order, reload: bool) -> int:
    if reload:
        from perdure.cli.dev.supervisor import supervise

        return supervise(order)
    from perdure.cli.dev.serving import serve

    config = order.load()
    return serve(config, order.agents(config))
