"""``perdure gateway``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli import options

if TYPE_CHECKING:
    from perdure.config import Config


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
    """The model gateway as an HTTP proxy.

    For other languages, and for programs that agents start.

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

    process.prepare(config)
    return serve(
        config, lambda url, store_url: process.tell(config, f"Proxy at {url} on {store_url}")
    )


def serve(config: Config, ready: Callable[[str, str], None]) -> int:
    """Serve until told to stop; returns the exit code. ``ready`` is told the URLs of the proxy and,
    without its password, of the store."""
    from perdure.cli import process
    from perdure.server.proxy.serve import serve as serve_proxy

    async def main(stop: process.Stop) -> int:
        stop.limit = config.proxy.drain.total_seconds() + process.UNWIND
        async with process.open_store(config, create=True) as opened:
            await serve_proxy(
                config, opened, on_ready=lambda at: ready(at.url, opened.url), on_signal=stop.told
            )
        return 0

    return process.run_process(main)
