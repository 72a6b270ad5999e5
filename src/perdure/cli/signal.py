"""``perdure signal`` and ``perdure runs signal``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("signal")
@click.argument("run_id", metavar="RUN", type=options.RUN)
@click.argument("name", metavar="NAME")
@click.argument("payload", metavar="[PAYLOAD]", required=False)
@click.option("--dedupe", metavar="KEY", help="Sending again with the same key changes nothing.")
@options.as_json
@options.settings
def command(
    run_id: str,
    name: str,
    payload: str | None,
    dedupe: str | None,
    json_: bool,
    store: str | None,
    config_file: Path | None,
) -> None:
    """Send a signal to a run.

    PAYLOAD is JSON (null when left out). The run need not wait for it yet: signals are kept. --json
    prints {"run", "name", "n"}; n counts the run's signals.
    """
    import asyncio

    from perdure import codec
    from perdure.cli import input as input_
    from perdure.cli import process
    from perdure.cli.terminal import output

    config = options.load(config_file, store)
    value = None if payload is None else input_.parse(payload, "PAYLOAD")
    process.prepare(config)

    async def main() -> None:
        async with process.open_store(config) as opened:
            n = await opened.signal(run_id, name, codec.encode(value), dedupe=dedupe)
            if json_:
                output.document({"run": run_id, "name": name, "n": n})
            else:
                print(f"Signal {n} of {run_id}: {name}")

    asyncio.run(main())
