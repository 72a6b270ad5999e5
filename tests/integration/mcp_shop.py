"""The MCP server of ``mcp_program`` for a test: how to start it over stdio, or where it listens."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAM = Path(__file__).with_name("mcp_program.py")
START_SECONDS = 30
PROMISES = {"stock": "reads", "reserve": "idempotent", "burn": "undeclared"}


@dataclass(frozen=True)
class Shop:
    """``command`` starts it over stdio; ``url`` is where it is over HTTP, if it is."""

    notes: Path
    url: str = ""

    @property
    def command(self) -> list[str]:
        return [sys.executable, str(PROGRAM), str(self.notes)]

    def done(self) -> list[str]:
        """What its tools did."""
        return self.notes.read_text().splitlines() if self.notes.exists() else []


@contextmanager
def over_http(folder: Path) -> Iterator[Shop]:
    """The server on a port of its own, until the end of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shop = Shop(folder / "notes", f"http://127.0.0.1:{port}/mcp")
    with subprocess.Popen([*shop.command, str(port)], stderr=subprocess.DEVNULL) as process:
        try:
            _until_it_listens(port, process)
            yield shop
        finally:
            process.terminate()


def _until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the MCP server did not start")
