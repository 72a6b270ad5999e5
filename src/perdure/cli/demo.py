"""``perdure demo``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("demo")
@click.option(
    "--docs",
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="A folder or file to research instead of the project's own documents.",
)
@click.option(
    "--kill-at", type=click.IntRange(1), metavar="N", help="The model call to kill in (8)."
)
@click.option("--plain", is_flag=True, help="Lines instead of panels.")
@click.option("--keep", is_flag=True, help="Do not remove the files.")
@options.as_json
def command(docs: Path | None, kill_at: int | None, plain: bool, keep: bool, json_: bool) -> int:
    """See an agent survive kill -9, without any key.

    An unmodified LangGraph agent is killed in the middle of its work, once run by plain Python and
    once by Perdure. The exit code is 1 where a promise does not hold.
    """
    from perdure.demo import KILL_AT, Options, main

    return main(Options(docs=docs, kill_at=kill_at or KILL_AT, plain=plain, keep=keep, json=json_))
