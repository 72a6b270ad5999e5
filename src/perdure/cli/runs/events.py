"""``perdure runs events``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("events")
@click.argument("run_id", metavar="RUN", type=options.RUN)
@click.option("--follow", "-f", "follow_", is_flag=True, help="Wait for more until the run ends.")
@click.option("--after", type=click.IntRange(0), default=0, metavar="SEQ", help="Only later ones.")
@click.option("--text", is_flag=True, help="For people, instead of JSON lines.")
@options.settings
def command(
    run_id: str,
    follow_: bool,
    after: int,
    text: bool,
    store: str | None,
    config_file: Path | None,
) -> int:
    """A run's events as JSON lines.

    Each is {"seq", "at", "type", "data"}, as in GET /api/runs/{id}/events.
    """
    from contextlib import nullcontext

    from perdure.cli import process
    from perdure.cli.follow import follow, whole_log
    from perdure.cli.terminal import output
    from perdure.cli.terminal.progress import Progress
    from perdure.server.event_view import view

    config = options.load(config_file, store)
    process.prepare(config)

    async def main(stop: process.Stop) -> int:
        async with process.open_store(config) as opened:
            await opened.get(run_id, payloads=False)
            with Progress(run_id) if text else nullcontext() as progress:

                async def read() -> None:
                    if follow_:
                        async for event in follow(opened, run_id, after):
                            progress.show(event) if progress else output.line(view(event))
                        return
                    for event in await whole_log(opened, run_id, after):
                        progress.show(event) if progress else output.line(view(event))

                stop.listen()
                return stop.exit_code if await stop.unless(read()) else 0

    return process.run_process(main)
