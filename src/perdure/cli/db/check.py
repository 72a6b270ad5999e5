"""``perdure db check``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("check")
@options.as_json
@options.settings
def command(json_: bool, store: str | None, config_file: Path | None) -> None:
    """Whether the schema is this version's.

    The exit code is 0 where it is, 7 where the database cannot be reached or is not there, 8 where
    its schema is older or newer. --json prints {"store", "version", "needed", "current"}.
    """
    import asyncio

    from perdure.cli import process
    from perdure.cli.terminal import output
    from perdure.errors import PerdureError, SchemaNewer, SchemaOutdated

    config = options.load(config_file, store)
    process.prepare(config)

    async def main() -> None:
        wrong: PerdureError | None = None
        url = config.store.url
        try:
            async with process.open_store(config) as opened:
                url = opened.url
                version, needed = await opened.schema()
        except (SchemaOutdated, SchemaNewer) as error:
            wrong = error
            version, needed = error.detail.get("version", 0), error.detail.get("needed", 0)
        if json_:
            current = wrong is None
            output.document(
                {"store": url, "version": version, "needed": needed, "current": current}
            )
        elif wrong is None:
            print(f"{url} has schema version {version}, as this Perdure needs.")
        if wrong is not None:
            raise wrong

    asyncio.run(main())
