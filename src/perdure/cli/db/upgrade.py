"""``perdure db upgrade``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("upgrade")
@options.as_json
@options.settings
def command(json_: bool, store: str | None, config_file: Path | None) -> None:
    """Bring the schema to this version's.

    Safe to call from several places at once, and again. --json prints {"applied": [names],
    "version"}.
    """
    import asyncio

    from perdure.cli import process
    from perdure.cli.terminal import output
    from perdure.cli.terminal.busy import busy
    from perdure.store import make_store

    config = options.load(config_file, store)
    process.prepare(config)

    async def main() -> None:
        opened = make_store(config.store.url)
        await opened.open(check=False)
        try:
            with busy("Upgrading the schema"):
                applied = await opened.upgrade()
            version, _ = await opened.schema()
        finally:
            await opened.close()
        if json_:
            output.document({"applied": applied, "version": version})
            return
        for name in applied:
            print(f"applied  {name}")
        print(f"{opened.url} has schema version {version}.")

    asyncio.run(main())
