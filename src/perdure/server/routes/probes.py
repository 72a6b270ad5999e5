"""``/healthz``, ``/readyz``, ``/metrics`` and ``/scale``.

Liveness says that the event loop turns, and nothing else: a restart mends no database. Readiness
says whether requests should come here now; it asks the store once for all who ask at a time.
"""

from __future__ import annotations

import asyncio
import platform
from time import monotonic
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from perdure import __version__
from perdure.core.run import RunState
from perdure.errors import PerdureError
from perdure.gateway.meters import PREFIX
from perdure.gateway.standing import Standing, standing
from perdure.observe import metrics
from perdure.observe.metrics import Family
from perdure.server.service import Service
from perdure.server.web.answers import Json
from perdure.store.rows import QueueStats

FRESH = 1.0  # seconds that an answer of the store's is good for
PATIENCE = 2.0  # seconds; a store that needs longer is not ready


class Probes:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._store = "unknown"
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()
        self._known: Standing | None = None
        self._known_at = float("-inf")
        self._measuring = asyncio.Lock()

    async def health(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(self, request: Request) -> Response:
        """200, or 503 with what is missing."""
        service = self._service
        checks = {"store": await self._ask_store()}
        if service.worker is not None:
            checks["worker"] = "ok" if service.worker.holds else "its lease or lock is in doubt"
        if service.draining:
            checks["server"] = "draining"
        ready = all(word == "ok" for word in checks.values())
        return Json({"ready": ready, "checks": checks}, 200 if ready else 503)

    async def _ask_store(self) -> str:
        async with self._asking:
            if monotonic() - self._asked_at > FRESH:
                try:
                    async with asyncio.timeout(PATIENCE):
                        have, need = await self._service.store.schema()
                    self._store = "ok" if have == need else f"schema is {have}, needed is {need}"
                except TimeoutError:
                    self._store = f"no answer in {PATIENCE:g} s"
                except PerdureError as error:
                    self._store = error.code
                self._asked_at = monotonic()
            return self._store

    async def scale(self, request: Request) -> Response:
        """What an autoscaler goes by: how much is to be done, and how long it has waited."""
        stats = await self._service.pressure.stats()
        queues = {one.queue: _load(one) for one in stats}
        waits = [load["oldest_ready_seconds"] for load in queues.values()]
        total = {
            name: sum(load[name] for load in queues.values())
            for name in ("queued", "running", "blocked", "waiting")
        }
        return Json({**total, "oldest_ready_seconds": max(waits, default=0.0), "queues": queues})

    async def metrics(self, request: Request) -> Response:
        """Prometheus text."""
        families = [_build(), *self._service.traffic.families(), *await self._runs()]
        worker = self._service.worker
        if worker is not None:
            running = Family("perdure_attempts_running", "gauge", "Attempts under way here.")
            running.add(worker.running)
            finished = Family("perdure_attempts_total", "counter", "Attempts that ended here.")
            finished.add(worker.finished_attempts)
            runtime = worker.runtime
            unmetered = Family(
                "perdure_unmetered_calls_total",
                "counter",
                "Model calls of runs that no limit, budget or price is known for, by host.",
            )
            for host, count in sorted(runtime.unmetered.items()):
                unmetered.add(count, host=host)
            families += [running, finished, unmetered]
            families += metrics.from_counters(runtime.counters)
            families += metrics.from_spreads(runtime.spreads)
        families += await self._limits()
        return Response(metrics.render(families), media_type=metrics.CONTENT_TYPE)

    async def _limits(self) -> list[Family]:
        """How full the providers' limits are, over all workers."""
        if not self._service.config.limits:
            return []
        used = Family("perdure_limit_used", "gauge", "What is used of a limit in its window.")
        amount = Family("perdure_limit_amount", "gauge", "The limit, as far as it is believed.")
        waiting = Family("perdure_limit_waiting", "gauge", "Calls that wait for room in a pool.")
        flying = Family("perdure_limit_in_flight", "gauge", "Calls under way in a pool.")
        try:
            async with asyncio.timeout(PATIENCE):
                found = await self._standing()
        except (TimeoutError, PerdureError):
            return []
        for pool in found.pools:
            key = pool.key.removeprefix(PREFIX)
            waiting.add(pool.waiting, pool=key)
            flying.add(pool.in_flight, pool=key)
            for meter in pool.meters:
                if meter.amount is not None:
                    labels = {"pool": key, "what": meter.what, "window_s": f"{meter.per:g}"}
                    used.add(meter.used, **labels)
                    amount.add(int(meter.amount * meter.believed), **labels)
        return [used, amount, waiting, flying]

    async def _standing(self) -> Standing:
        """At most a moment old: who scrapes often asks the keeper no more often."""
        async with self._measuring:
            if self._known is None or monotonic() - self._known_at > FRESH:
                service = self._service
                keeper = await service.meters()
                self._known = await standing(keeper, service.config.limits)
                self._known_at = monotonic()
            return self._known

    async def _runs(self) -> list[Family]:
        up = Family("perdure_store_up", "gauge", "Whether the store answers.")
        runs = Family("perdure_runs", "gauge", "Runs by queue and state.")
        oldest = Family(
            "perdure_queue_oldest_ready_seconds", "gauge", "How long the oldest queued run waits."
        )
        try:
            async with asyncio.timeout(PATIENCE):
                stats = await self._service.pressure.stats()
        except (TimeoutError, PerdureError):
            up.add(0)
            return [up]
        up.add(1)
        for one in stats:
            for state, count in sorted(one.states.items()):
                runs.add(count, queue=one.queue, state=state)
            waits = 0.0 if one.oldest_ready is None else one.oldest_ready.total_seconds()
            oldest.add(waits, queue=one.queue)
        return [up, runs, oldest]


def _load(one: QueueStats) -> dict[str, Any]:
    load: dict[str, Any] = {
        state.value: one.states.get(state, 0)
        for state in (RunState.QUEUED, RunState.RUNNING, RunState.BLOCKED, RunState.WAITING)
    }
    waits = one.oldest_ready
    load["oldest_ready_seconds"] = 0.0 if waits is None else waits.total_seconds()
    return load


def _build() -> Family:
    build = Family("perdure_build_info", "gauge", "What runs here.")
    build.add(1, version=__version__, python=platform.python_version())
    return build
