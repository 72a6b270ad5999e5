"""``perdure halt agent``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options
from perdure.cli.halt.switch import switch


@click.command("agent")
@click.argument("name", metavar="NAME", type=options.AGENT)
@click.option("--reason", default="", metavar="TEXT", help="Why; runs are told.")
@options.as_json
@options.settings
def command(
    name: str, reason: str, json_: bool, store: str | None, config_file: Path | None
) -> None:
    """Stop an agent's model calls.

    Every worker obeys within a second.

    --json prints {"kind", "name", "by", "at", "reason"}.
    """
    switch("agent", name, reason, json_=json_, config=options.load(config_file, store))
