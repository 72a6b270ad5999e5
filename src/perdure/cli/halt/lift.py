"""``perdure halt lift``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("lift")
@click.argument("kind", type=click.Choice(["agent", "tenant"]))
@click.argument("name", metavar="NAME")
@options.settings
def command(kind: str, name: str, store: str | None, config_file: Path | None) -> None:
    """Let model calls go out again.

    Runs that failed meanwhile go on when they are redriven: perdure runs redrive RUN.
    """
    import asyncio

    from perdure.cli import process
    from perdure.runtime.halting import lift

    config = options.load(config_file, store)
    process.prepare(config)

    async def main() -> None:
        async with process.open_store(config) as opened:
            await lift(opened, kind, name)

    asyncio.run(main())
    print(f"The {kind} {name} may make model calls again.")
