"""``perdure routes``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("routes")
@click.option("--since", default="1h", metavar="TIME", help="Count calls of the last TIME (1h).")
@options.as_json
@options.settings
def command(since: str, json_: bool, store: str | None, config_file: Path | None) -> None:
    """Where model calls go: routes, targets, breakers, costs.

    A breaker is closed (the target is asked), open (it is not, until a time), or half-open (one
    call tries it). SHARE, ANSWERED and COST/CALL are of the calls since then, out of the ledger.

    --json prints {"now", "since", "routes": [{"route", "rules", "calls", "cost_per_call_usd",
    "drill", "targets": [{"target", "breaker", "until", "share", "success", ...}]}]}.
    """
    import asyncio

    from perdure.cli import process
    from perdure.cli.terminal import output
    from perdure.cli.terminal.routes import print_routes
    from perdure.runtime.routing import standing

    config = options.load(config_file, store)
    ago = options.duration(since, "--since")
    assert ago is not None
    process.prepare(config)

    async def main() -> None:
        async with process.open_store(config) as opened:
            found = await standing(opened, config.routes, await opened.now() - ago)
        if json_:
            output.document(found.view())
        elif not found.routes:
            output.note("No routes: calls go where agents send them. See [[routes]].")
        else:
            print_routes(found)

    asyncio.run(main())
