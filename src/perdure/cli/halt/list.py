"""``perdure halt list``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli import options

if TYPE_CHECKING:
    from perdure.runtime.halting import Halted


@click.command("list")
@options.as_json
@options.settings
def command(json_: bool, store: str | None, config_file: Path | None) -> None:
    """What is halted, by whom and why.

    --json prints {"halts": [{"kind", "name", "by", "at", "reason"}]}.
    """
    import asyncio
    from datetime import UTC, datetime

    from perdure.cli import process
    from perdure.cli.terminal import output
    from perdure.cli.terminal.times import stamp
    from perdure.runtime.halting import halts
    from perdure.server.routes.halts import view

    config = options.load(config_file, store)
    process.prepare(config)

    async def main() -> list[Halted]:
        async with process.open_store(config) as opened:
            return await halts(opened)

    found = asyncio.run(main())
    if json_:
        output.document({"halts": [view(halted) for halted in found]})
        return
    if not found:
        output.note("Nothing is halted.")
        return
    rows = [
        [one.kind, one.name, stamp(datetime.fromtimestamp(one.halt.at, UTC)), one.halt.by,
         one.halt.reason]
        for one in found
    ]  # fmt: skip
    output.table(["KIND", "NAME", "SINCE", "BY", "REASON"], rows, shrink=4)
