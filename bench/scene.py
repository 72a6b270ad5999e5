"""Stores and processes that benchmarks need: databases with production's settings, workers and
servers as processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal, Self

from perdure.store import Store, make_store
from tests.servers import PostgresServer

Kind = Literal["sqlite", "postgres"]
KINDS: tuple[Kind, ...] = ("postgres", "sqlite")
TITLES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
ROOT = Path(__file__).parents[1]
TARGET = "bench.agents:app"  # by module: beside its file, queue.py would hide the standard one
READY_S = 30.0


class Scene:
    """A folder and, where it is asked for, one PostgreSQL server (fsync and synchronous commit on);
    ``url`` is a new database each time."""

    def __init__(self, **settings: str) -> None:
        self._settings = settings
        self._stack = contextlib.ExitStack()
        self._server: PostgresServer | None = None
        self._made = 0

    def __enter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def server(self) -> PostgresServer:
        """The server, started when it is first asked for."""
        if self._server is None:
            server = PostgresServer(durable=True, settings=self._settings)
            self._server = self._stack.enter_context(server)
        return self._server

    def url(self, kind: Kind) -> str:
        """A new, empty database."""
        self._made += 1
        if kind == "sqlite":
            return f"sqlite:///{self.path('perdure.db')}"
        return self.server.dsn(self.server.create_database())

    def path(self, name: str) -> Path:
        """A new file of this name, in a folder of its own."""
        folder = self.folder / str(self._made)
        folder.mkdir(exist_ok=True)
        return folder / name


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    """The store at ``url``, with its schema."""
    store = make_store(url)
    await store.open(check=False)
    await store.upgrade()
    try:
        yield store
    finally:
        await store.close()


class Process:
    """``perdure COMMAND ...`` as a process of its own, ended by its id."""

    def __init__(self, *arguments: str, store: str, environ: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "perdure", *arguments],
            env={
                **os.environ,
                "PERDURE_STORE": store,
                "PERDURE_STORE_BLOBS": tempfile.gettempdir(),
                "PYTHONPATH": str(ROOT),
                **(environ or {}),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tempfile.gettempdir(),
        )
        self.pid = self._process.pid
        self.said: list[str] = []
        self._heard = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said.append(line)
            if " is ready: " in line or line.startswith("Serving "):
                self._heard.set()
        self._heard.set()

    async def ready(self) -> str:
        """Wait until it says so; returns the line. Raises RuntimeError with what it said."""
        await asyncio.to_thread(self._heard.wait, READY_S)
        for line in self.said:
            if " is ready: " in line or line.startswith("Serving "):
                return line
        self.kill()
        raise RuntimeError("the process did not start:\n" + "".join(self.said[-20:]))

    def kill(self) -> None:
        """``kill -9``, at once."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM twice: at once, but orderly."""
        for _ in range(2):
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
                time.sleep(0.2)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def resident_mb(self) -> float:
        """Its resident memory, in MB (10^6 bytes)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise RuntimeError("no VmRSS")


@contextlib.contextmanager
def worker(
    store: str, *, concurrency: int = 100, environ: dict[str, str] | None = None
) -> Iterator[Process]:
    """A worker process over bench/agents.py; stopped at the end, if it still lives."""
    process = Process(
        "worker", TARGET, "--concurrency", str(concurrency), store=store, environ=environ
    )
    try:
        yield process
    finally:
        process.stop()
