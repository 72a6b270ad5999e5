"""The parts of a process, made from the settings in one place: schema, blobs, worker, capture of
model calls. The command line and apps that are mounted elsewhere use it."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from perdure.config import Config
from perdure.core.anomaly import Rule
from perdure.runtime.agent import Agent
from perdure.runtime.runtime import Runtime
from perdure.runtime.spending import SpendingSettings
from perdure.runtime.strays import Strays
from perdure.runtime.worker import Worker, WorkerSettings
from perdure.store import Store, make_redis, make_store
from perdure.store.blobs import Blobs, make_blobs
from perdure.store.retention import make_keeping

if TYPE_CHECKING:
    from perdure.gateway.gate import Gate
    from perdure.gateway.retries import RetrySettings
    from perdure.store.redis import RedisShared

log = logging.getLogger("perdure")


async def upgrade_embedded(config: Config) -> None:
    """An SQLite file is made, and brought to this Perdure's schema, by whoever uses it. A server's
    schema is the operator's business (``perdure db upgrade``). Raises SchemaNewer."""
    if not config.store.url.startswith("sqlite:"):
        return
    store = make_store(config.store.url)
    await store.open(check=False)
    try:
        version, needed = await store.schema()
        if version != needed:
            applied = ", ".join(await store.upgrade())
            # A file that was made just now is no news to whoever asked for it.
            level = logging.INFO if version else logging.DEBUG
            log.log(level, "%s has a new schema: %s", config.store.url, applied)
    finally:
        await store.close()


def verify(config: Config) -> None:
    """Raises ConfigError for values that only the parts themselves can judge, without starting any:
    names of providers, promises, policies."""
    from perdure.app import policy_of
    from perdure.frameworks.promises import declared_tools
    from perdure.gateway.providers import Providers
    from perdure.runtime.policy import Policy

    Providers(config.gateway.providers)
    for name, settings in config.agents.items():
        policy_of(Policy(), settings)
        declared_tools(name, settings.tools, ())


def make_worker(
    config: Config, store: Store, agents: Mapping[str, Agent], *, root: str | None = None
) -> Worker:
    """A worker over an unopened or open store. ``root``: it claims this run and its children."""
    settings = WorkerSettings(
        concurrency=config.worker.concurrency,
        lease=config.worker.lease,
        max_attempt=config.worker.max_attempt,
        drain=config.worker.drain,
        keeping=make_keeping(config.retention),
        spending=SpendingSettings(
            config.spend.days,
            Rule(config.spend.factor, config.spend.least, config.spend.hours),
            tuple(budget.name for budget in config.budgets if budget.every),
        ),
    )
    return Worker(store, open_blobs(config), agents, settings, root=root)


def make_runtime(config: Config, store: Store) -> Runtime:
    """Of a process that has a gateway and no worker, over an open store."""
    name = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
    return Runtime(store, open_blobs(config), name)


def open_blobs(config: Config) -> Blobs:
    """Where large values are. Raises ConfigError, MissingExtra."""
    return make_blobs(config.blob_place())


@asynccontextmanager
async def capturing(
    config: Config, runtime: Runtime, *, strict: bool | None = None
) -> AsyncIterator[None]:
    """Model calls are caught while this is open, proven by a call through each HTTP library (T2).
    Nothing with ``gateway.capture = false``. Raises ConfigError where capture does not hold.
    ``strict`` stands before the setting."""
    from perdure.frameworks import patches

    if config.gateway.tools:
        patches.install_imported()
    else:
        patches.uninstall()
    if not config.gateway.capture:
        yield
        return
    from perdure.gateway import Capture, Providers, install, uninstall
    from perdure.gateway.probe import prove
    from perdure.runtime.handing_over import Proxy
    from perdure.runtime.outside import Accounts

    retries = retry_settings(config)
    capture = Capture(Providers(config.gateway.providers), retries)
    runtime.unmetered = capture.unmetered
    install(capture)
    try:
        libraries = await prove()
        log.debug("Model calls are captured under %s.", ", ".join(libraries))
        # The proof's own calls are no strays.
        refuse = config.gateway.strict if strict is None else strict
        capture.strays = Strays(runtime, strict=refuse)
        if config.proxy.url:
            runtime.proxy = Proxy(config.proxy.url.rstrip("/"))
        async with gated(config, runtime, retries) as gate:
            capture.trips = gate
            accounts = Accounts(runtime.recorder.charge, gate.now)
            runtime.account = accounts.of
            yield
    finally:
        runtime.account = None
        capture.trips = None
        uninstall()


def retry_settings(config: Config) -> RetrySettings:
    """How often a model call is tried, and for how long."""
    from perdure.core.retry import RetryPolicy
    from perdure.gateway import RetrySettings

    policy = RetrySettings().policy
    return RetrySettings(
        policy=RetryPolicy(
            attempts=config.gateway.attempts,
            base=policy.base,
            factor=policy.factor,
            cap=policy.cap,
        ),
        total=config.gateway.budget,
    )


@asynccontextmanager
async def gated(config: Config, runtime: Runtime, retries: RetrySettings) -> AsyncIterator[Gate]:
    """Limits, budgets, routes and the ledger of a process's model calls. Raises ConfigError,
    MissingExtra, StoreUnavailable."""
    from perdure.gateway.gate import Gate

    async with AsyncExitStack() as stack:
        meters: RedisShared | None = None
        if config.gateway.shared:
            meters = make_redis(config.gateway.shared)
            await meters.open()
            stack.push_async_callback(meters.close)
        spend = runtime.recorder.charge
        gate = Gate(
            config,
            runtime.store,
            runtime.worker_id,
            retries,
            spend,
            meters=meters,
            answers=runtime.store,
            crossed=runtime.hanging.crossed,
            choose=runtime.hanging.choose,
            counts=runtime,
        )
        await gate.open()
        runtime.preflight = gate.preflights
        runtime.ending.append(gate.close)
        yield gate
