"""``perdure keys list``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("list")
@options.as_json
@options.settings
def command(json_: bool, store: str | None, config_file: Path | None) -> None:
    """The keys, without their secrets.

    --json prints {"keys": [{"id", "name", "scopes", "created_at", "expires_at", "last_used_at",
    "revoked_at"}]}.
    """
    import asyncio

    from perdure.cli import process
    from perdure.cli.keys.view import view
    from perdure.cli.terminal import output
    from perdure.cli.terminal.times import age, stamp
    from perdure.server.keys import usable

    config = options.load(config_file, store)
    process.prepare(config)

    async def main() -> None:
        async with process.open_store(config) as opened:
            found, now = await opened.keys(), await opened.now()
        if json_:
            output.document({"keys": [view(key) for key in found]})
            return
        if not found:
            output.note("No keys: the server answers this machine alone.")
            return
        rows = [
            (
                key.id,
                key.name,
                ", ".join(key.scopes),
                "revoked" if key.revoked_at else "valid" if usable(key, now) else "expired",
                f"{age(key.last_used_at, now)} ago" if key.last_used_at else "never",
                stamp(key.expires_at) if key.expires_at else "never",
            )
            for key in found
        ]
        styles = {(i, 3): "green" if row[3] == "valid" else "red" for i, row in enumerate(rows)}
        columns = ("ID", "NAME", "SCOPES", "STATE", "LAST USED", "EXPIRES")
        output.table(columns, rows, cell_styles=styles, shrink=1)

    asyncio.run(main())
