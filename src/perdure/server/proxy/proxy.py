"""What the requests of one proxy share, and its life: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import httpx2
import orjson

from perdure import __version__
from perdure.assembly import gated, make_runtime, retry_settings
from perdure.config import Config, ServerConfig
from perdure.core.charge import Charge
from perdure.errors import ConfigError, PerdureError, Unreachable
from perdure.gateway.answer import kept
from perdure.gateway.capture import Capture
from perdure.gateway.gate import Gate
from perdure.gateway.providers import Providers
from perdure.observe import metrics
from perdure.observe.metrics import Family, Traffic
from perdure.runtime.handing_over import shared_secret
from perdure.runtime.outside import outliving
from perdure.runtime.runtime import Runtime
from perdure.server.auth import Access, is_loopback
from perdure.server.proxy.callers import Callers
from perdure.server.proxy.going import SILENCE_S
from perdure.server.proxy.models import Models
from perdure.server.proxy.runs import Runs
from perdure.server.proxy.upstreams import Upstreams
from perdure.server.proxy.wire import Wire
from perdure.store.base import Store

log = logging.getLogger("perdure.proxy")

PATIENCE_S = 2.0  # a store that needs longer is not ready
FRESH_S = 1.0  # how long its answer is good
JSON = b"application/json"


class Proxy:
    """Over an open store. ``gate`` is what every call goes by."""

    def __init__(self, config: Config, store: Store, runtime: Runtime, gate: Gate, secret: bytes):
        self.settings = config.proxy
        self.store = store
        self.runtime = runtime
        self.gate = gate
        self.capture = Capture(Providers(config.gateway.providers), gate.retries)
        self.capture.trips = gate
        self.upstreams = Upstreams(config)
        self.wire = Wire()
        self.models = Models(config.routes, self.upstreams, self.wire)
        where = ServerConfig(host=config.proxy.host, insecure=config.proxy.insecure)
        self.access = Access(store, where)
        self.callers = Callers(self.access, store, secret, gate.now)
        self.runs = Runs(runtime, runtime.worker_id.rpartition("-")[2])
        self.traffic = Traffic()
        self.probes = Probes(self)
        self.draining = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()

    def spend(self, charge: Charge) -> None:
        """Enter a row into the ledger."""
        self.runtime.recorder.charge(charge)

    def count(self, metric: str, **labels: str) -> None:
        """Add one to a counter of this process."""
        self.runtime.count(metric, **labels)

    def keep(self, what: Coroutine[Any, Any, None]) -> Awaitable[None]:
        """Let ``what`` outlive its request."""
        return outliving(what, self._tasks)

    async def pass_on(
        self, url: str, query: bytes, headers: dict[str, str], body: bytes
    ) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
        """(Status, headers, body) of what is not metered. Raises Unreachable."""
        try:
            response = await self.wire.send("POST", url, query, headers, body, SILENCE_S)
            content = await response.aread()
            await response.aclose()
        except httpx2.HTTPError as error:
            raise Unreachable(f"No answer from {url}: {type(error).__name__}: {error}") from None
        return response.status_code, kept(response.headers), content

    async def drain(self) -> None:
        """Take nothing new; wait for what is under way, for as long as the settings say."""
        self.draining = True
        until = monotonic() + self.settings.drain.total_seconds()
        while (self.traffic.open or self._tasks) and monotonic() < until:
            if self._tasks:
                await asyncio.wait(set(self._tasks), timeout=0.1)
            else:
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        """What is still under way is cut off: its outcome is unknown, and charged so."""
        self.draining = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=PATIENCE_S)
        await self.wire.close()
        await self.access.close()


class Probes:
    """``/healthz``, ``/readyz``, ``/metrics``: each (status, content type, body)."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._store = "unknown"
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def health(self) -> tuple[int, bytes, bytes]:
        """The event loop turns."""
        return 200, b"text/plain; charset=utf-8", b"ok\n"

    async def ready(self) -> tuple[int, bytes, bytes]:
        """200, or 503 with what is missing."""
        checks = {"store": await self._ask_store()}
        if self._proxy.draining:
            checks["proxy"] = "draining"
        ready = all(word == "ok" for word in checks.values())
        return 200 if ready else 503, JSON, orjson.dumps({"ready": ready, "checks": checks})

    async def _ask_store(self) -> str:
        async with self._asking:
            if monotonic() - self._asked_at > FRESH_S:
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        await self._proxy.store.now()
                    self._store = "ok"
                except TimeoutError:
                    self._store = f"no answer in {PATIENCE_S:g} s"
                except PerdureError as error:
                    self._store = error.code
                self._asked_at = monotonic()
            return self._store

    async def metrics(self) -> tuple[int, bytes, bytes]:
        """Prometheus text."""
        build = Family("perdure_build_info", "gauge", "What runs here.")
        build.add(1, version=__version__, python=platform.python_version())
        up = Family("perdure_store_up", "gauge", "Whether the store answers.")
        up.add(1 if await self._ask_store() == "ok" else 0)
        counted = metrics.from_counters(self._proxy.runtime.counters)
        text = metrics.render([build, up, *self._proxy.traffic.families(), *counted])
        return 200, metrics.CONTENT_TYPE.encode(), text.encode()


@asynccontextmanager
async def running(config: Config, store: Store) -> AsyncIterator[Proxy]:
    """A proxy over an open store. Raises ConfigError for a bind that others can reach without any
    key, and what opening its parts raises."""
    settings = config.proxy
    if not (is_loopback(settings.host) or settings.insecure or await store.keys()):
        raise ConfigError(
            f"proxy.host is {settings.host!r}, which others can reach, and there is no key.",
            hint="Run: perdure keys create NAME --for gateway   (or start with --insecure)",
        )
    runtime = make_runtime(config, store)
    secret = await shared_secret(store)
    async with gated(config, runtime, retry_settings(config)) as gate:
        proxy = Proxy(config, store, runtime, gate, secret)
        for trouble in proxy.upstreams.unreadable():
            log.warning("%s Calls that need it are refused until it is there.", trouble)
        try:
            yield proxy
        finally:
            await proxy.close()
            await runtime.end()
