"""A function behind HTTP: as a run that is executed in place for a client that waits, with
``durability="none"``, and behind plain FastAPI on the same uvicorn. Each server is a process.

FastAPI comes from the peers' environment (scripts/peers.sh .venv-peers), or is installed here.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.figure import Figure, Size, median, percentile
from bench.http_load import Request, latencies, per_second
from bench.scene import KINDS, ROOT, TARGET, TITLES, Kind, Process, Scene, opened
from tests.servers import free_port

OVER_MS = 2.0  # at most, over FastAPI, as a run
OF_FASTAPI = 0.85  # of its requests a second, at least, without durability
PEERS = ROOT / ".venv-peers" / "bin" / "python"
CONNECTIONS = 16
BODY = b'{"input":"hello"}'
SAID = b'"hello"'


def fastapi_python() -> str | None:
    """An interpreter that has FastAPI."""
    if PEERS.exists():
        return str(PEERS)
    return sys.executable if importlib.util.find_spec("fastapi") else None


@asynccontextmanager
async def plain(python: str) -> AsyncIterator[int]:
    """FastAPI's port."""
    port = free_port()
    process = subprocess.Popen([python, "-m", "bench.peers.plain_fastapi", str(port)], cwd=ROOT)
    try:
        async with asyncio.timeout(20):
            while not _answers(port):
                await asyncio.sleep(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def perdure(url: str, folder: Path) -> AsyncIterator[int]:
    """Perdure's port."""
    async with opened(url):
        pass
    process = Process("serve", TARGET, "--port", "0", store=url)
    try:
        said = await process.ready()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", said)
        assert found is not None, said
        yield int(found[1])
    finally:
        process.stop()


async def measure(size: Size) -> list[Figure]:
    """Latency of one client at a time, and requests a second without durability."""
    python = fastapi_python()
    if python is None:
        print("in_place: FastAPI is missing; run scripts/peers.sh .venv-peers", file=sys.stderr)
        return []
    single, many = size.of(1000, 50), size.of(10_000, 200)
    bare: list[float] = []
    bare_rates: list[float] = []
    over: dict[Kind, list[float]] = {"postgres": [], "sqlite": []}
    rates: list[float] = []
    with Scene() as scene:
        for _ in range(size.repeat):
            async with plain(python) as port:
                request = Request(port, "/echo", BODY, SAID)
                await per_second(request, many // 10, connections=CONNECTIONS)
                base = percentile(await latencies(request, single), 0.5)
                bare.append(base)
                bare_rates.append(await per_second(request, many, connections=CONNECTIONS))
            for kind in KINDS:
                async with perdure(scene.url(kind), scene.folder) as port:
                    run = Request(port, "/api/agents/echo/runs?wait=30", BODY, SAID)
                    await latencies(run, single // 10)
                    over[kind].append(percentile(await latencies(run, single), 0.5) - base)
                    if kind == "sqlite":
                        direct = Request(port, "/api/agents/direct/runs?wait=30", BODY, SAID)
                        await per_second(direct, many // 10, connections=CONNECTIONS)
                        rates.append(await per_second(direct, many, connections=CONNECTIONS))
    figures = [
        Figure(
            "in place", f"{TITLES[kind]}: a run over plain FastAPI, p50",
            median(over[kind]) * 1e3, "ms", OVER_MS, beside=f"{median(bare) * 1e3:.2f} ms plain",
        )
        for kind in KINDS
    ]  # fmt: skip
    shares = [rate / plainly for rate, plainly in zip(rates, bare_rates, strict=True)]
    beside = f"{median(rates):,.0f} of {median(bare_rates):,.0f} requests/s"
    figures.append(
        Figure(
            "in place", 'durability="none": of FastAPI\'s requests', median(shares), "",
            OF_FASTAPI, True, beside,
        )
    )  # fmt: skip
    return figures
