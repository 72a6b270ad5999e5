"""``perdure gateway``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli import options

if TYPE_CHECKING:
    from perdure.server.serve import Address


@click.command("gateway")
@click.option("--insecure", is_flag=True, default=None, help="Serve other hosts without any key.")
@click.option("--port", type=int, metavar="N", help="Port; 0 takes a free one (8090).")
@click.option("--host", metavar="ADDRESS", help="Address to listen on (127.0.0.1).")
@options.settings
def command(
    insecure: bool | None,
    port: int | None,
    host: str | None,
    store: str | None,
    config_file: Path | None,
) -> int:
    """The model gateway as an HTTP proxy, for other languages and for programs that agents start.

    It speaks the providers' own APIs: /v1/messages, /v1/chat/completions, /v1/responses,
    /v1/models. Point a client's base URL here, and its calls go by the limits, budgets and routes
    of perdure.toml, counted together with those of workers and other proxies on the same store.

    Keys: perdure keys create NAME --for gateway. Without any, it serves this machine alone. An
    SQLite file is made and upgraded, a PostgreSQL database has to have this version's schema.
    """
    config = options.load(
        config_file, store, proxy__host=host, proxy__port=port, proxy__insecure=insecure
    )
    from perdure.cli import process
    from perdure.server.proxy.serve import serve

    process.prepare(config)

    async def main(stop: process.Stop) -> int:
        stop.limit = config.proxy.drain.total_seconds() + process.UNWIND
        async with process.open_store(config, create=True) as opened:

            def ready(address: Address) -> None:
                process.tell(config, f"Proxy at {address.url} on {opened.url}")

            await serve(config, opened, on_ready=ready, on_signal=stop.told)
        return 0

    return process.run_process(main)
