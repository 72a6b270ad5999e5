"""A real server in this process for tests: a socket, uvicorn, the SQLite store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson

from perdure.app import App
from perdure.config import Config, load
from perdure.runtime.worker import Worker, WorkerSettings
from perdure.server.serve import HttpServer
from perdure.server.service import Service
from perdure.store import Store, make_store
from perdure.store.blobs import FileBlobs


@dataclass
class Served:
    """A running server and a client of it."""

    server: HttpServer
    service: Service
    http: httpx2.AsyncClient

    @property
    def store(self) -> Store:
        return self.service.store

    @property
    def url(self) -> str:
        assert self.server.address is not None
        return self.server.address.url


def settings(folder: Path, **flags: Any) -> Config:
    """Settings of a server over the database in ``folder``; flags are ``server__port=0``."""
    dotted = {name.replace("__", "."): value for name, value in flags.items()}
    defaults = {"store.url": f"sqlite:///{folder}/perdure.db", "server.port": 0}
    return load(environ={}, flags={**defaults, **dotted})


async def upgraded(config: Config) -> None:
    """Make the database, or bring it up to date."""
    store = make_store(config.store.url)
    await store.open(check=False)
    try:
        await store.upgrade()
    finally:
        await store.close()


def make_service(
    app: App, config: Config, *, work: bool = True, worker: WorkerSettings | None = None
) -> Service:
    store, agents = make_store(config.store.url), app.configured(config)
    blobs = FileBlobs(config.blob_folder())
    return Service(agents, config, store, Worker(store, blobs, agents, worker) if work else None)


@asynccontextmanager
async def serving(
    app: App,
    folder: Path,
    *,
    work: bool = True,
    worker: WorkerSettings | None = None,
    **flags: Any,
) -> AsyncIterator[Served]:
    """Serve ``app`` until the block ends. Without ``work`` there is no worker in it."""
    config = settings(folder, **flags)
    await upgraded(config)
    service = make_service(app, config, work=work, worker=worker)
    server = HttpServer(service)
    task = asyncio.create_task(server.serve())
    ready = asyncio.create_task(server.ready.wait())
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        ready.cancel()
        task.result()
    assert server.address is not None
    async with httpx2.AsyncClient(base_url=server.address.url, timeout=30) as http:
        try:
            yield Served(server, service, http)
        finally:
            if not task.done():
                server.stop()
            await task


@dataclass(frozen=True)
class Sent:
    """One server-sent event."""

    id: int
    event: str
    data: dict[str, Any]


async def sse(response: httpx2.Response) -> AsyncIterator[Sent]:
    """The events of a stream, comments and retry lines left out."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        name, colon, value = line.partition(":")
        if not line:
            if "data" in fields:
                data = orjson.loads(fields["data"])
                yield Sent(int(fields["id"]), fields["event"], data)
            fields = {}
        elif colon and name:
            fields[name] = value.removeprefix(" ")
