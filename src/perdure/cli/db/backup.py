"""``perdure db backup``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from perdure.cli import options
from perdure.core.words import counted


@click.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--blobs", "folder", type=click.Path(file_okay=False, path_type=Path),
              metavar="FOLDER", help="Copy the large values, too, to this folder.")  # fmt: skip
@options.as_json
@options.settings
def command(
    file: Path, folder: Path | None, json_: bool, store: str | None, config_file: Path | None
) -> None:
    """Copy a SQLite store to FILE while it is in use, with a list of its large values.

    FILE is a whole database, as it was at one moment. Beside it FILE.blobs.json names every large
    value it refers to. With --blobs these are copied first, and what is there already is not
    copied again. For PostgreSQL use pg_dump: see the guide on storage.

    --json prints {"file", "bytes", "blobs", "blob_bytes", "missing": [names]}.
    """
    import asyncio

    from perdure.cli import process
    from perdure.cli.db.backing_up import back_up
    from perdure.cli.terminal import output
    from perdure.cli.terminal.sizes import short_bytes

    config = options.load(config_file, store)
    process.prepare(config)
    blobs = process.open_blobs(config)

    async def main() -> dict[str, Any]:
        async with process.open_store(config) as opened:
            return await back_up(opened, blobs, file, folder)

    done = asyncio.run(main())
    if json_:
        output.document(done)
        return
    print(f"{file}  {short_bytes(done['bytes'])}")
    print(f"{counted(done['blobs'], 'blob')}, {short_bytes(done['blob_bytes'])}"
          + (f", copied to {folder}" if folder else f", listed in {file}.blobs.json"))  # fmt: skip
    for name in done["missing"]:
        output.note(f"The blob {name} is not where it should be.")
