"""``perdure runs redrive``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("redrive")
@click.argument("run_ids", metavar="RUN...", type=options.RUN, nargs=-1, required=True)
@options.as_json
@options.settings
def command(
    run_ids: tuple[str, ...], json_: bool, store: str | None, config_file: Path | None
) -> None:
    """Let failed, dead or waiting runs go on.

    Failed and dead ones do so from their journal, with fresh attempts. A waiting one is woken to
    look again, after its code or a limit was changed.
    """
    from perdure.cli.runs.changing import change

    change(
        run_ids,
        lambda opened, run_id: opened.redrive(run_id),
        options.load(config_file, store),
        json_=json_,
    )
