"""``perdure keys create``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="SCOPE",
    help="runs:read, runs:write or admin; may be given several times (both of runs).",
)
@click.option("--expires", metavar="TIME", help="How long it lives, e.g. 90d (for ever).")
@options.as_json
@options.settings
def command(
    name: str,
    scopes: tuple[str, ...],
    expires: str | None,
    json_: bool,
    store: str | None,
    config_file: Path | None,
) -> None:
    """A new key; shown once.

    The key alone goes to stdout, so that KEY=$(perdure keys create ci) works. --json prints
    {"key", "id", "name", "scopes", "created_at", "expires_at", ...}.
    """
    import asyncio

    from perdure.cli import process
    from perdure.cli.keys.view import view
    from perdure.cli.terminal import output
    from perdure.server import keys

    config = options.load(config_file, store)
    lifetime = options.duration(expires, "--expires")
    process.prepare(config)

    async def main() -> None:
        async with process.open_store(config, create=True) as opened:
            plaintext, kept = await keys.create(
                opened, name, scopes or (keys.READ, keys.WRITE), lifetime=lifetime
            )
        if json_:
            output.document({"key": plaintext, **view(kept)})
            return
        output.note(f"Key {kept.id} ({', '.join(kept.scopes)}). It cannot be shown again:")
        print(plaintext)

    asyncio.run(main())
