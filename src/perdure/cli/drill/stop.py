"""``perdure drill stop``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("stop")
@click.argument("route", metavar="[ROUTE]", required=False)
@options.settings
def command(route: str | None, store: str | None, config_file: Path | None) -> None:
    """End the drill of ROUTE, or all.

    From the next second on, all traffic goes its way again.
    """
    import asyncio

    from perdure.cli import process
    from perdure.cli.drill import traffic
    from perdure.cli.terminal import output
    from perdure.errors import NotFound

    config = options.load(config_file, store)
    process.prepare(config)

    async def main() -> None:
        async with process.open_store(config) as opened:
            names = [route] if route else [one.route for one in await traffic.known(opened)]
            ended = [name for name in names if await traffic.end(opened, name)]
        if route and not ended:
            raise NotFound(f"No drill of {route!r} takes real traffic now.")
        output.note(f"Ended: {', '.join(ended)}." if ended else "No drill takes real traffic now.")

    asyncio.run(main())
