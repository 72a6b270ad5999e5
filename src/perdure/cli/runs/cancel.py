"""``perdure runs cancel``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("cancel")
@click.argument("run_ids", metavar="RUN...", type=options.RUN, nargs=-1, required=True)
@click.option("--reason", default="", metavar="TEXT", help="Kept in the run's log.")
@options.as_json
@options.settings
def command(
    run_ids: tuple[str, ...],
    reason: str,
    json_: bool,
    store: str | None,
    config_file: Path | None,
) -> None:
    """Stop runs, and the runs they started.

    One that is waiting or queued is cancelled at once; one that is being executed is asked to stop,
    and may clean up for a while.
    """
    from perdure.cli.runs.changing import change
    from perdure.runtime.cancelling import cancel_run

    change(
        run_ids,
        lambda opened, run_id: cancel_run(opened, run_id, reason),
        options.load(config_file, store),
        json_=json_,
    )
