"""``perdure runs redrive``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("redrive")
@click.argument("run_ids", metavar="RUN...", nargs=-1, required=True)
@options.as_json
@options.settings
def command(
    run_ids: tuple[str, ...], json_: bool, store: str | None, config_file: Path | None
) -> None:
    """Let failed or dead runs go on.

    They do so from their journal, with fresh attempts.
    """
    from perdure.cli.runs.changing import change

    change(
        run_ids,
        lambda opened, run_id: opened.redrive(run_id),
        options.load(config_file, store),
        json_=json_,
    )
