"""``perdure keys revoke``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("revoke")
@click.argument("key_id", metavar="ID")
@options.settings
def command(key_id: str, store: str | None, config_file: Path | None) -> None:
    """End a key's life.

    Servers notice within seconds. A key cannot be brought back.
    """
    import asyncio

    from perdure.cli import process

    config = options.load(config_file, store)
    process.prepare(config)

    async def main() -> None:
        async with process.open_store(config) as opened:
            await opened.revoke_key(key_id)
        print(f"Key {key_id} is revoked.")

    asyncio.run(main())
