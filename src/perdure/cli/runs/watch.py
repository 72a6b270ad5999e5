"""``perdure runs watch``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("watch")
@click.argument("run_id", metavar="[RUN]", required=False, type=options.RUN)
@click.option("--agent", metavar="NAME", type=options.AGENT, help="Only runs of this agent.")
@options.as_json
@options.settings
def command(
    run_id: str | None,
    agent: str | None,
    json_: bool,
    store: str | None,
    config_file: Path | None,
) -> int:
    """A run, or all that are not final, as they go.

    With a RUN: the tree of its steps, tools and model calls with times and tokens, until it is
    final; then its result, and the exit code of perdure run. Money is shown where the model's
    list price is known.

    Without one: a board of the runs that are not final, until Ctrl-C. In a pipe, and with --json,
    it is a line for each change of a run's state.

    --json prints with a RUN what perdure run --follow --json does: its events as JSON lines, and
    then the run. Without one each line is a run: the fields of GET /api/runs.
    """
    from perdure.cli import watching

    config = options.load(config_file, store)
    if run_id is not None and agent is not None:
        raise click.UsageError("--agent goes without a RUN.", click.get_current_context())
    if run_id is None:
        return watching.board(config, agent, json_=json_)
    return watching.one(config, run_id, json_=json_)
