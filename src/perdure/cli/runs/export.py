"""``perdure runs export``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("export")
@click.argument("run_id", metavar="RUN", type=options.RUN)
@click.argument("file", metavar="[FILE]", default="-")
@options.settings
def command(run_id: str, file: str, store: str | None, config_file: Path | None) -> None:
    """Everything about a run, for perdure replay.

    It is one JSON document.

    FILE is standard output when left out. It holds the run's input, every recorded answer
    and every request as they were: treat it like the data that the agent works on.
    """
    import asyncio
    import sys

    from perdure.cli import process
    from perdure.cli.offline.document import dump, gather
    from perdure.cli.terminal import output
    from perdure.cli.terminal.busy import busy
    from perdure.errors import InvalidInput

    config = options.load(config_file, store)
    process.prepare(config)

    async def main() -> bytes:
        async with process.open_store(config) as opened:
            with busy("Reading the run"):
                found = await gather(opened, process.open_blobs(config), run_id)
            return dump(found, await opened.now())

    data = asyncio.run(main())
    if file == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        Path(file).write_bytes(data)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {error.strerror}.") from None
    output.note(f"{len(data)} bytes in {file}. Replay them: perdure replay {file} TARGET")
