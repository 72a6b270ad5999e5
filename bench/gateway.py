"""What the gateway adds to a model call of the openai SDK: captured and metered alone, and
journaled and limited on PostgreSQL, beside the bare SDK. The provider is a process of its own that
answers at once; the figures are of the process that calls.

A round is short, and the figures are medians of what a round differs from the bare one just before
it: the speed of a machine that is shared changes within seconds.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import openai

from bench.figure import Figure, Size, median, percentile
from bench.runs import new
from bench.scene import ROOT, Scene, opened
from perdure.app import App
from perdure.assembly import capturing
from perdure.cli.process import spare_collector
from perdure.config import Config, LimitConfig, load
from perdure.core.guard import Limits
from perdure.core.ports import About, current_boundary
from perdure.core.shared import Document, Swap, Swapped
from perdure.gateway import Capture, Providers, install, uninstall
from perdure.gateway.gate import Gate
from perdure.gateway.retries import RetrySettings
from perdure.runtime.outside import Outside, Patience
from perdure.runtime.worker import Worker, WorkerSettings
from perdure.store.blobs import FileBlobs
from tests.servers import free_port

CPU_US, RATE = 100.0, 0.85  # captured: at most so much more, at least so much of the rate
LIMITED_CPU_US, LIMITED_RATE, LIMITED_MS = 400.0, 0.65, 3.0  # journaled and limited
CONCURRENCY = 50
PARTS = 5  # rounds for each that is asked for
_MUCH = 1_000_000_000


class Load(NamedTuple):
    """``rate``: calls a second at CONCURRENCY; ``cpu_us``: of this process, a call; ``p50_ms``: of
    one call at a time."""

    rate: float
    cpu_us: float
    p50_ms: float


class _Memory:
    """Shared documents of one process."""

    def __init__(self) -> None:
        self._documents: dict[str, Document] = {}

    async def swap(self, reads: Sequence[str], swaps: Sequence[Swap] = ()) -> Swapped:
        known = self._documents
        done = all(known.get(s.key, Document()).version == s.version for s in swaps)
        if done:
            for s in swaps:
                known[s.key] = Document(s.version + 1, s.body)
        keys = {*reads, *(s.key for s in swaps)}
        return Swapped(time.time(), done, {key: known.get(key, Document()) for key in keys})

    async def listed(self, prefix: str, limit: int = 1000) -> Swapped:
        keys = [key for key in self._documents if key.startswith(prefix)]
        return Swapped(time.time(), True, {key: self._documents[key] for key in keys[:limit]})


@contextmanager
def provider() -> Any:
    """Its port."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.stub_provider", str(port)], cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield port
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


async def load_of(port: int, calls: int, single: int) -> Load:
    """The SDK's calls, many at a time and one at a time."""
    async with openai.AsyncOpenAI(
        api_key="sk-any", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0
    ) as client:

        async def ask(n: int) -> None:
            await client.chat.completions.create(
                model="gpt-5",
                max_completion_tokens=100,
                messages=[{"role": "user", "content": f"Say something about tides: {n}."}],
            )

        numbers = iter(range(calls + single + CONCURRENCY))

        async def lane(share: int) -> None:
            for _ in range(share):
                await ask(next(numbers))

        await asyncio.gather(*(lane(1) for _ in range(CONCURRENCY)))  # connections are made
        cpu, began = time.process_time(), time.perf_counter()
        await asyncio.gather(*(lane(calls // CONCURRENCY) for _ in range(CONCURRENCY)))
        took, used = time.perf_counter() - began, time.process_time() - cpu
        each = []
        for _ in range(single):
            began = time.perf_counter()
            await ask(next(numbers))
            each.append((time.perf_counter() - began) * 1000)
    return Load(calls / took, used / calls * 1e6, percentile(each, 0.5))


async def captured(port: int, calls: int, single: int) -> Load:
    """Metered, with nothing to wait for; of no run, so that nothing is journaled."""
    capture = Capture(Providers({f"127.0.0.1:{port}": "openai"}))
    install(capture)
    gate = Gate(Config(), _Memory(), "bench", RetrySettings(), lambda charge: None)
    try:
        await gate.open()
        capture.trips = gate
        tasks = asyncio.ensure_future
        patience = Patience(0.0, gate.now)
        outside = Outside(About(agent="bench"), patience, tasks, lambda charge: None)
        token = current_boundary.set(outside)
        try:
            return await load_of(port, calls, single)
        finally:
            current_boundary.reset(token)
    finally:
        await gate.close()
        uninstall()


async def limited(scene: Scene, port: int, calls: int, single: int) -> Load:
    """In a run on PostgreSQL, with limits that are never reached."""
    found: asyncio.Future[Load] = asyncio.get_running_loop().create_future()

    async def agent() -> None:
        try:
            found.set_result(await load_of(port, calls, single))
        except BaseException as error:
            found.set_exception(error)
            raise

    app = App()
    many = Limits(model_calls=_MUCH, effects=_MUCH, repeats=_MUCH)
    app.add(agent, limits=many, max_entries=_MUCH)
    config = replace(
        load(environ={}),
        gateway=replace(Config().gateway, providers={f"127.0.0.1:{port}": "openai"}),
        limits=(LimitConfig(provider="openai", rpm=_MUCH, tpm=_MUCH, concurrent=10_000),),
    )
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(opened(scene.url("postgres")))
        blobs = FileBlobs(scene.folder / "blobs")
        worker = Worker(store, blobs, app.agents, WorkerSettings(lease=timedelta(seconds=30)))
        await stack.enter_async_context(capturing(config, worker.runtime))
        await worker.start()
        stack.push_async_callback(worker.stop)
        # Nobody follows it: who does has each call's beginning written down as well.
        await store.enqueue([new("agent", None)])
        async with asyncio.timeout(600):
            return await found


async def measure(size: Size) -> list[Figure]:
    """Interleaved rounds of all three."""
    calls, single = size.of(500, 100), size.of(60, 20)
    spare_collector()  # as every process of Perdure does; the bare SDK has the good of it too
    rounds: dict[str, list[Load]] = {"bare": [], "captured": [], "limited": []}
    with Scene() as scene, provider() as port:
        ways: dict[str, Callable[[], Awaitable[Load]]] = {
            "bare": lambda: load_of(port, calls, single),
            "captured": lambda: captured(port, calls, single),
            "limited": lambda: limited(scene, port, calls, single),
        }
        for way in ways.values():  # imports, the database's caches
            await way()
        for _ in range(size.repeat * PARTS):
            for name, way in ways.items():
                rounds[name].append(await way())
    figures = []
    for name, title, cpu, rate, ms in (
        ("captured", "captured and metered", CPU_US, RATE, None),
        ("limited", "journaled and limited, PostgreSQL", LIMITED_CPU_US, LIMITED_RATE, LIMITED_MS),
    ):
        pairs = list(zip(rounds["bare"], rounds[name], strict=True))
        bare, found = _middle(rounds["bare"]), _middle(rounds[name])
        beside = f"{found.rate:,.0f}/s beside {bare.rate:,.0f}/s"
        figures += [
            Figure("gateway", f"{title}: CPU added a call",
                   median([b.cpu_us - a.cpu_us for a, b in pairs]), "us", cpu,
                   beside=f"{found.cpu_us:,.0f} us beside {bare.cpu_us:,.0f} us"),
            Figure("gateway", f"{title}: of the bare SDK's rate",
                   median([b.rate / a.rate for a, b in pairs]), "", rate,
                   least=True, beside=beside),
            Figure("gateway", f"{title}: added p50",
                   median([b.p50_ms - a.p50_ms for a, b in pairs]), "ms", ms,
                   beside=f"{found.p50_ms:.2f} ms beside {bare.p50_ms:.2f} ms"),
        ]  # fmt: skip
    return figures


def _middle(loads: Sequence[Load]) -> Load:
    return Load(*(median(values) for values in zip(*loads, strict=True)))
