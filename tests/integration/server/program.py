"""A server in a process of its own, to be killed: ``python -m … FOLDER [PORT]``. Prints its URL."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path

import perdure
from perdure.app import App
from perdure.server.serve import Address, HttpServer
from tests.integration.server.serving import make_service, settings, upgraded

app = App()


@perdure.step
async def work(i: int) -> int:
    return i


@app.agent(park_after=60.0)
async def talk(n: int) -> str:
    """Say n things, wait warm for a signal, say n more."""
    for i in range(n):
        perdure.emit("before", i)
        await work(i)
    await perdure.wait_for("go")
    for i in range(n):
        perdure.emit("after", i)
        await work(n + i)
    return "said"


@app.agent
def stubborn() -> None:
    """Synchronous code that nothing can stop."""
    threading.Event().wait()


def _ready(address: Address) -> None:
    print(address.url, flush=True)


async def main(folder: Path, port: int) -> None:
    config = settings(folder, server__port=port)
    await upgraded(config)
    server = HttpServer(make_service(app, config), on_ready=_ready)
    await server.serve()
    print("drained", flush=True)
    if server.hurried:
        os._exit(9)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
