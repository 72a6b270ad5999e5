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
    help="runs:read, runs:write, gateway or admin; may be given several times (both of runs).",
)
@click.option(
    "--for",
    "purpose",
    type=click.Choice(["server", "gateway"]),
    default="server",
    help="What it opens: the server (default), or the proxy, perdure gateway.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="PATTERN",
    help="Models it may call, such as 'gpt-*'; may be given several times (all).",
)
@click.option("--tenant", metavar="NAME", help="Whose its calls are.")
@click.option("--agent", metavar="NAME", help="The agent that its calls count as (the key's name).")
@click.option("--budget", metavar="USD[/PERIOD]", help="Its own, hard: 5/day, 100/month, 20.")
@click.option("--expires", metavar="TIME", help="How long it lives, e.g. 90d (for ever).")
@options.as_json
@options.settings
def command(
    name: str,
    scopes: tuple[str, ...],
    purpose: str,
    models: tuple[str, ...],
    tenant: str | None,
    agent: str | None,
    budget: str | None,
    expires: str | None,
    json_: bool,
    store: str | None,
    config_file: Path | None,
) -> None:
    """A new key; shown once.

    The key alone goes to stdout, so that KEY=$(perdure keys create ci) works. --json prints
    {"key", "id", "name", "scopes", "created_at", "expires_at", ...}.

    A key for the proxy takes the place of a provider's: what calls models with it sees no other.
    --model, --tenant, --agent and --budget bound it.
    """
    import asyncio

    from perdure.cli import process
    from perdure.cli.keys.view import view
    from perdure.cli.terminal import output
    from perdure.server import keys
    from perdure.server.grants import Grant, amount

    given = (*scopes,)
    if purpose == "gateway":
        usd, every = amount(budget) if budget else (None, "")
        grant = Grant(models, tenant or "", agent or name, usd, every)
        given = (*scopes, *grant.scopes())
    elif models or tenant or agent or budget:
        raise click.UsageError("--model, --tenant, --agent and --budget go with --for gateway.")
    config = options.load(config_file, store)
    lifetime = options.duration(expires, "--expires")
    process.prepare(config)

    async def main() -> None:
        async with process.open_store(config, create=True) as opened:
            plaintext, kept = await keys.create(
                opened, name, given or (keys.READ, keys.WRITE), lifetime=lifetime
            )
        if json_:
            output.document({"key": plaintext, **view(kept)})
            return
        output.note(f"Key {kept.id} ({', '.join(kept.scopes)}). It cannot be shown again:")
        print(plaintext)

    asyncio.run(main())
