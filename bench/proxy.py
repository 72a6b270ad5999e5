"""``perdure gateway`` loaded with the httpx2 client, beside the provider itself, a reverse proxy
that does nothing else, and LiteLLM's proxy where there is one:

    python -m venv /somewhere && /somewhere/bin/pip install 'litellm[proxy]'
    LITELLM=/somewhere/bin/litellm python -m bench proxy

The provider is a process of its own that answers at once. Each proxy is one process. Perdure's
meters, prices and charges every call (SQLite), with limits that are never reached.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import httpx2

from bench.figure import Figure, Size, median, percentile
from bench.gateway import provider
from bench.scene import ROOT
from tests.servers import free_port

TIMES, ADDED_MS = 4.0, 3.0  # LiteLLM's rate; one call at a time
CONCURRENCY = 50
START_S = 120.0
TITLES = {"reverse": "a bare reverse proxy", "perdure": "Perdure", "litellm": "LiteLLM's proxy"}
# Neither checks keys here.
KEYLESS = {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
PERDURE = """
[proxy]
upstreams = {{ openai = "http://127.0.0.1:{port}/v1" }}
[keys.openai]
env = "BENCH_KEY"
[[limits]]
provider = "openai"
rpm = 1000000000
tpm = 100000000000
concurrent = 10000
"""
LITELLM = """
model_list:
  - model_name: gpt-5
    litellm_params:
      model: openai/gpt-5
      api_base: http://127.0.0.1:{port}/v1
      api_key: sk-any
"""


class Load(NamedTuple):
    """Calls a second at CONCURRENCY, milliseconds of one call at a time, microseconds of the
    proxy's CPU for each of many."""

    rate: float
    p50_ms: float
    cpu_us: float


class Server(NamedTuple):
    """``pid`` 0: it is not looked at."""

    url: str
    pid: int = 0

    def cpu(self) -> float:
        """Seconds used so far."""
        if not self.pid:
            return 0.0
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def ask(client: httpx2.AsyncClient, server: Server) -> None:
    """A chat completion of the httpx2 client."""
    answer = await client.post(
        f"{server.url}/v1/chat/completions",
        headers={"authorization": "Bearer sk-any"},
        json={
            "model": "gpt-5",
            "max_completion_tokens": 100,
            "messages": [{"role": "user", "content": "Say something about tides."}],
        },
    )
    if answer.status_code != 200 or "choices" not in answer.json():
        raise RuntimeError(f"{answer.status_code} {answer.text}")


async def load_of(server: Server, calls: int, single: int) -> Load:
    """Many at a time, then one at a time: that by a client of its own, as the first one's pool
    would look at its fifty connections for each."""
    limits = httpx2.Limits(max_connections=CONCURRENCY)
    async with httpx2.AsyncClient(limits=limits, timeout=60) as client:

        async def lane(share: int) -> None:
            for _ in range(share):
                await ask(client, server)

        await asyncio.gather(*(lane(1) for _ in range(CONCURRENCY)))
        cpu, began = server.cpu(), time.perf_counter()
        await asyncio.gather(*(lane(calls // CONCURRENCY) for _ in range(CONCURRENCY)))
        rate, used = calls / (time.perf_counter() - began), server.cpu() - cpu
    each = []
    async with httpx2.AsyncClient(timeout=60) as client:
        await ask(client, server)
        for _ in range(single):
            began = time.perf_counter()
            await ask(client, server)
            each.append((time.perf_counter() - began) * 1000)
    return Load(rate, percentile(each, 0.5), used / calls * 1e6)


@contextmanager
def process(arguments: Sequence[str], folder: str, port: int) -> Iterator[Server]:
    """A server, once it answers anything."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
    with Path(folder, f"{port}.log").open("wb") as log:
        started = subprocess.Popen(
            arguments,
            cwd=folder,
            env={**own, **KEYLESS, "BENCH_KEY": "sk-any", "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
    try:
        url, until = f"http://127.0.0.1:{port}", time.monotonic() + START_S
        while True:
            try:
                httpx2.get(f"{url}/")
                break
            except httpx2.TransportError:
                if started.poll() is not None or time.monotonic() > until:
                    text = Path(folder, f"{port}.log").read_text()
                    raise RuntimeError(f"{arguments[0]} does not serve: {text[-2000:]}") from None
                time.sleep(0.05)
        yield Server(url, started.pid)
    finally:
        started.terminate()
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


@contextmanager
def proxies(port: int) -> Iterator[dict[str, Server]]:
    """All that are here; first of all the provider itself."""
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True))
        upstream = f"http://127.0.0.1:{port}"
        servers = {"direct": Server(upstream)}

        def begin(name: str, *arguments: str) -> None:
            own = free_port()
            filled = [argument.replace("PORT", str(own)) for argument in arguments]
            servers[name] = stack.enter_context(process(filled, folder, own))

        begin("reverse", sys.executable, "-m", "bench.reverse_proxy", "PORT", upstream)
        Path(folder, "perdure.toml").write_text(PERDURE.format(port=port))
        begin("perdure", sys.executable, "-m", "perdure.cli.main", "gateway", "--port", "PORT")
        if litellm := os.environ.get("LITELLM"):
            Path(folder, "litellm.yaml").write_text(LITELLM.format(port=port))
            begin(
                "litellm", litellm, "--config", "litellm.yaml", "--host", "127.0.0.1",
                "--port", "PORT", "--num_workers", "1",
            )  # fmt: skip
        yield servers


async def measure(size: Size) -> list[Figure]:
    """Interleaved rounds."""
    calls, single = size.of(2000, 100), size.of(300, 20)
    rounds: dict[str, list[Load]] = {}
    with provider() as port, proxies(port) as servers:
        for _ in range(size.repeat):
            for name, server in servers.items():
                rounds.setdefault(name, []).append(await load_of(server, calls, single))
    found = {
        name: Load(*(median(values) for values in zip(*loads, strict=True)))
        for name, loads in rounds.items()
    }
    direct = found.pop("direct")
    figures = []
    for name, load in found.items():
        added = load.p50_ms - direct.p50_ms
        target = ADDED_MS if name == "perdure" else None
        beside = f"{load.p50_ms:.2f} ms beside {direct.p50_ms:.2f} ms"
        figures += [
            Figure("proxy", f"{TITLES[name]}: added p50", added, "ms", target, beside=beside),
            Figure("proxy", f"{TITLES[name]}: rate", load.rate, "/s",
                   beside=f"{direct.rate:,.0f}/s without any"),
            Figure("proxy", f"{TITLES[name]}: its CPU a call", load.cpu_us, "us"),
        ]  # fmt: skip
    if "litellm" in found:
        times = found["perdure"].rate / found["litellm"].rate
        figures.append(Figure("proxy", "times LiteLLM's rate", times, "", TIMES, least=True))
    return figures
