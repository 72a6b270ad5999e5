"""``perdure limits``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options

EVERY_S = 0.5  # between two looks


@click.command("limits")
@click.option("--once", is_flag=True, help="Print them once, also in a terminal.")
@options.as_json
@options.settings
def command(once: bool, json_: bool, store: str | None, config_file: Path | None) -> int:
    """How full the declared limits are, over all workers.

    For each limit: what is used of it in its window, how much of it is believed after a refusal by
    the provider, the calls that wait for it and those in flight, and when the next one may go. In a
    terminal it moves, until Ctrl-C; in a pipe, with --once and with --json it is printed once.

    --json prints the fields of GET /api/limits.
    """
    from perdure.cli import looking

    config = options.load(config_file, store)
    return looking.limits(config, once=once, json_=json_)
