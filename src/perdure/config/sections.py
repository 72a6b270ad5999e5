"""The sections of ``perdure.toml`` that are single tables, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from perdure.core.budget import Nano
from perdure.core.charge import NANO

_DOLLAR = Nano(NANO)


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where runs are kept: ``sqlite:///path`` or ``postgresql://…``. ``blobs``: the folder for
    values over 256 KiB; every worker needs the same one. Default: beside the SQLite file, else
    ``.perdure/blobs``."""

    url: str = "sqlite:///.perdure/perdure.db"
    blobs: str = ""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """See ``perdure.runtime.worker.WorkerSettings``."""

    concurrency: int = 100
    lease: timedelta = timedelta(seconds=10)
    max_attempt: timedelta | None = None
    drain: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """``max_body`` is in bytes, ``max_depth`` is how deep JSON may nest, ``max_wait`` bounds
    ``?wait=``, ``max_queued`` refuses new runs with 429 over so many queued ones of an agent,
    ``request_timeout`` is until an answer begins. ``problems`` is where errors are explained: a URL
    that their code is put after. ``cors_…`` can be written as a table: ``[server.cors]``."""

    host: str = "127.0.0.1"
    port: int = 8080
    insecure: bool = False
    max_body: int = 10 * 1024 * 1024
    max_depth: int = 100
    max_wait: timedelta = timedelta(minutes=5)
    max_queued: int = 1_000_000
    heartbeat: timedelta = timedelta(seconds=15)
    request_timeout: timedelta = timedelta(seconds=30)
    problems: str = ""
    cors_origins: tuple[str, ...] = ()
    cors_max_age: timedelta = timedelta(minutes=10)
    console: bool = True


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """``capture``: catch model calls at the HTTP transport. ``tools``: catch the tool calls of
    frameworks and SDKs by their process-wide patches. ``strict``: refuse model calls made
    outside a run. ``providers`` adds hosts: ``{"llm.example.com" = "openai"}``. ``attempts`` and
    ``budget`` bound the retries of one model call. ``shared``: who keeps what workers share of
    limits: the run store (empty) or ``redis://…``. ``patience``: how long a call waits for quota in
    its place before its run parks. ``silence``: how long a target may say nothing where another can
    be asked. ``max_output``: tokens that a call without a bound of its own is bound to where a hard
    budget needs one."""

    capture: bool = True
    tools: bool = True
    strict: bool = False
    providers: dict[str, str] = field(default_factory=dict)
    attempts: int = 4
    budget: timedelta = timedelta(seconds=60)
    shared: str = ""
    patience: timedelta = timedelta(seconds=10)
    silence: timedelta = timedelta(seconds=60)
    max_output: int = 16_384


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """``perdure gateway``. ``upstreams``: base URLs by provider; ``keys``: the labels of their
    credentials, where it is not the provider's own name. ``max_wait``: how long a call waits for
    room; ``timeout``: until its answer begins; ``body_timeout``: until its body is there.
    ``max_body`` is in bytes, ``max_headers`` a number. ``url``: where programs that steps start
    reach it."""

    host: str = "127.0.0.1"
    port: int = 8090
    insecure: bool = False
    upstreams: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    max_body: int = 32 * 1024 * 1024
    max_headers: int = 100
    body_timeout: timedelta = timedelta(seconds=30)
    timeout: timedelta = timedelta(minutes=10)
    max_wait: timedelta = timedelta(minutes=1)
    drain: timedelta = timedelta(seconds=30)
    url: str = ""


@dataclass(frozen=True, slots=True)
class SpendConfig:
    """When it is told that far more than usual is spent with a credential in an hour: over
    ``factor`` usual deviations above the median of the last ``days`` (0: never), and over ``least``
    dollars; not before there are ``hours`` hours to compare with."""

    days: int = 7
    factor: int = 6
    least: Nano = _DOLLAR
    hours: int = 24


@dataclass(frozen=True, slots=True)
class RetentionConfig:
    """How long what is over is kept; None: for ever. ``succeeded`` to ``cancelled``: runs, after
    they ended so. ``generations``: the log of earlier generations of a run that goes on.
    ``blobs``: large values that nothing refers to. ``charges``: rows of the ledger, which stay
    when their runs go. ``agents`` has ages of its own for some agents' runs:
    ``{name: {state: age}}``."""

    succeeded: timedelta | None = None
    failed: timedelta | None = None
    dead: timedelta | None = None
    cancelled: timedelta | None = None
    generations: timedelta | None = None
    blobs: timedelta | None = None
    charges: timedelta | None = None
    agents: dict[str, dict[str, timedelta | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Policy of one agent (``[agents.NAME]``); what is left out keeps its default. ``tools`` is
    ``{tool name: "reads" | "idempotent" | "once"}``.

    ``preflight``: hold what a run is expected to take (``expected_tokens``, ``expected_cost`` in
    nano-dollars; none: learned) before it starts: ``off``, ``wait`` or ``strict``; ``models`` are
    those it uses, until that is learned (``provider/model``). ``cache``:
    answer equal requests from before, for ``cache_ttl``, shared within ``cache_scope``.
    ``prompt_cache``: place Anthropic's cache markers."""

    timeout: timedelta | None = None
    attempts: int | None = None
    changed: str | None = None
    undeclared: str | None = None
    park_after: timedelta | None = None
    cap: int | None = None
    priority: int | None = None
    durability: str | None = None
    requests: bool | None = None
    max_entries: int | None = None
    max_model_calls: int | None = None
    max_effects: int | None = None
    max_repeats: int | None = None
    tools: dict[str, str] = field(default_factory=dict)
    preflight: str = "off"
    expected_tokens: int | None = None
    expected_cost: Nano | None = None
    models: tuple[str, ...] = ()
    cache: str = "off"
    cache_ttl: timedelta = timedelta(hours=1)
    cache_scope: str = "agent"
    prompt_cache: bool = False


@dataclass(frozen=True, slots=True)
class LogConfig:
    """See ``perdure.observe.logs``. ``level`` is of Perdure's own lines, ``others`` of everyone
    else's, the agent's included; ``format`` is text or json."""

    level: str = "info"
    others: str = "warning"
    format: str = "text"


@dataclass(frozen=True, slots=True)
class TestingConfig:
    """For tests of crashes: ``crash`` is ``point[:n[:signal]]``."""

    crash: str = ""
