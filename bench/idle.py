"""What an idle worker costs its database: statements a second.

PostgreSQL's own log counts them (``log_statement=all`` has a line for each statement of a client);
SQLite's are counted by a trace on every connection that the worker's process opens.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import sys
import time
from typing import Any

from bench.figure import Figure, Size
from bench.scene import TITLES, Kind, Scene, opened, worker
from perdure.runtime.worker import Worker
from perdure.store.blobs import FileBlobs

A_SECOND = 2.0
SETTLE_S = 5.0
LINE = re.compile(rb"LOG:  (?:statement|execute [^:]*): (.*)")


async def postgres(scene: Scene, seconds: float) -> float:
    """Statements a second of a worker process."""
    url = scene.url("postgres")
    async with opened(url):
        pass
    folder = scene.server.folder
    assert folder is not None
    with worker(url) as process:
        await process.ready()
        await asyncio.sleep(SETTLE_S)
        log = folder / "log"
        start = log.stat().st_size
        await asyncio.sleep(seconds)
        with log.open("rb") as lines:
            lines.seek(start)
            said = lines.read()
    found = LINE.findall(said)
    if os.environ.get("PERDURE_BENCH_SHOW"):
        print(*(line.decode()[:120] for line in found), sep="\n", file=sys.stderr)
    return len(found) / seconds


async def sqlite(scene: Scene, seconds: float) -> float:
    """Statements a second of a worker in this process."""
    statements: list[str] = []
    connect = sqlite3.connect

    def traced(*arguments: Any, **more: Any) -> sqlite3.Connection:
        link: sqlite3.Connection = connect(*arguments, **more)
        link.set_trace_callback(statements.append)
        return link

    sqlite3.connect = traced  # type: ignore[assignment]
    try:
        async with opened(scene.url("sqlite")) as store:
            from bench.agents import app

            one = Worker(store, FileBlobs(scene.path("blobs")), app.agents)
            await one.start()
            await asyncio.sleep(SETTLE_S)
            statements.clear()
            begun = time.perf_counter()
            await asyncio.sleep(seconds)
            rate = len(statements) / (time.perf_counter() - begun)
            if os.environ.get("PERDURE_BENCH_SHOW"):
                print(*(line[:120] for line in statements), sep="\n", file=sys.stderr)
            await one.stop()
            return rate
    finally:
        sqlite3.connect = connect


async def measure(size: Size) -> list[Figure]:
    """One worker over an empty database, for a while."""
    seconds = float(size.of(60, 10))
    figures: list[Figure] = []
    with Scene(log_statement="all") as scene:
        measured: dict[Kind, float] = {
            "postgres": await postgres(scene, seconds),
            "sqlite": await sqlite(scene, seconds),
        }
    for kind, rate in measured.items():
        what = f"{TITLES[kind]}: statements a second of an idle worker"
        figures.append(Figure("idle", what, rate, "/s", A_SECOND))
    return figures
