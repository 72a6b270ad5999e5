"""``perdure runs list``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options
from perdure.core.run import RunState


@click.command("list")
@click.option("--agent", metavar="NAME", type=options.AGENT, help="Only runs of this agent.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in RunState]),
    help="Only runs in this state; may be given several times.",
)
@click.option(
    "--label", "labels", multiple=True, metavar="NAME=VALUE", help="Only with this label."
)
@click.option("--session", metavar="NAME", help="Only runs of this session.")
@click.option("--parent", metavar="RUN_ID", help="Only runs that this run started.")
@click.option("--since", metavar="TIME", help="Only runs made within this time, e.g. 2h.")
@click.option(
    "--before", type=options.RUN, metavar="RUN_ID", help="Go on after this run of an earlier list."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, help="How many (20).")
@options.as_json
@options.settings
def command(
    agent: str | None,
    states: tuple[str, ...],
    labels: tuple[str, ...],
    session: str | None,
    parent: str | None,
    since: str | None,
    before: str | None,
    limit: int,
    json_: bool,
    store: str | None,
    config_file: Path | None,
) -> None:
    """The newest runs, filtered.

    --json prints {"runs": [...]}: the fields of GET /api/runs.
    """
    import asyncio

    import orjson

    from perdure.cli import process
    from perdure.cli.terminal import output
    from perdure.cli.terminal.runs import print_runs
    from perdure.server.run_view import summary
    from perdure.store.rows import Filter

    config = options.load(config_file, store)
    within = options.duration(since, "--since")
    wanted = dict(_label(text) for text in labels)
    process.prepare(config)

    async def main() -> None:
        async with process.open_store(config) as opened:
            now = await opened.now()
            runs = await opened.find(
                Filter(
                    agent=agent,
                    states=tuple(RunState(state) for state in states),
                    session=session,
                    parent=parent,
                    labels=wanted,
                    created_after=None if within is None else now - within,
                    before=before,
                    limit=limit,
                )
            )
            if json_:
                output.document({"runs": orjson.loads(orjson.dumps([summary(r) for r in runs]))})
            else:
                print_runs(runs, now)
                if len(runs) == limit:
                    output.note(f"More: --before {runs[-1].id}")

    asyncio.run(main())


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE.", param_hint="--label")
    return name, value
