"""``perdure runs show``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("show")
@click.argument("run_id", metavar="RUN", type=options.RUN)
@options.as_json
@options.settings
def command(run_id: str, json_: bool, store: str | None, config_file: Path | None) -> None:
    """A run: state, waits, and the tree of its effects.

    Of each wait it says which command ends it.

    --json prints the fields of GET /api/runs/{id}, and "effects": [{"key", "scope", "kind", "name",
    "state", "promise", "started_s", "took_ms", "attempt"}], oldest first; started_s is in seconds
    from the run's first start.
    """
    import asyncio

    from perdure.cli import outcome, process
    from perdure.cli.follow import whole_log
    from perdure.cli.terminal import output
    from perdure.cli.terminal.run import print_run
    from perdure.cli.terminal.tree import effects
    from perdure.store.blobs import FileBlobs

    config = options.load(config_file, store)
    process.prepare(config)

    async def main() -> None:
        async with process.open_store(config) as opened:
            run = outcome.fetched(await opened.get(run_id), FileBlobs(process.blob_folder(config)))
            found = effects(await whole_log(opened, run_id), run.started_at)
            if json_:
                document = outcome.document(run)
                document["effects"] = [effect.to_dict() for effect in found]
                output.document(document)
            else:
                print_run(run, found, await opened.now())

    asyncio.run(main())
