"""``perdure drill status``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("status")
@options.as_json
@options.settings
def command(json_: bool, store: str | None, config_file: Path | None) -> None:
    """The drills that take real traffic now, and what came of them so far.

    --json prints {"drills": [{"id", "route", "target", "percent", "since", "until", "by",
    "sides"}]}.
    """
    import asyncio

    from perdure.cli import process
    from perdure.cli.drill import traffic
    from perdure.cli.terminal import output
    from perdure.cli.terminal.drills import print_sides
    from perdure.cli.terminal.times import short

    config = options.load(config_file, store)
    process.prepare(config)

    async def main() -> None:
        async with process.open_store(config) as opened:
            found = [await traffic.look(opened, one) for one in await traffic.known(opened)]
            now = await opened.now()
        if json_:
            output.document(
                {
                    "drills": [
                        {
                            **traffic.view(each.drill),
                            "sides": [side.to_dict() for side in each.sides],
                        }
                        for each in found
                    ]
                }
            )
            return
        if not found:
            output.note("No drill takes real traffic now.")
        for each in found:
            one = each.drill
            left = short(traffic.moment(one.until) - now)
            print(
                f"{one.route}: {one.percent:g} % of runs to {one.target} first, for {left} more"
                f" (by {one.by})"
            )
            print_sides(each.sides)

    asyncio.run(main())
