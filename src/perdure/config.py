"""Settings: frozen, loaded once and handed down.

Precedence: defaults < ``perdure.toml`` < ``PERDURE_*`` variables < flags. Every value knows where
it came from (``perdure config show``). Only this module reads the environment. Durations are
written as a number of seconds or as ``500ms``, ``30s``, ``5m``, ``2h``, ``1d``.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from perdure.errors import ConfigError

FILE = "perdure.toml"
# With less than this a process would start and do nothing, for no visible reason.
_LEAST: dict[str, int | timedelta] = {
    "worker.concurrency": 1,
    "worker.lease": timedelta(milliseconds=1),
    "server.heartbeat": timedelta(milliseconds=1),
    "gateway.attempts": 1,
    "agents.*.attempts": 1,
    "agents.*.cap": 1,
    "agents.*.max_entries": 1,
}
_PORTS = 65535
NEVER = ("", "none", "off")  # words for no duration, no limit
SECRET = re.compile(r"(://[^:/@\s]+:)[^@/\s]+@")


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
    ``budget`` bound the retries of one model call."""

    capture: bool = True
    tools: bool = True
    strict: bool = False
    providers: dict[str, str] = field(default_factory=dict)
    attempts: int = 4
    budget: timedelta = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class RetentionConfig:
    """How long what is over is kept; None: for ever. ``succeeded`` to ``cancelled``: runs, after
    they ended so. ``generations``: the log of earlier generations of a run that goes on.
    ``blobs``: large values that nothing refers to. ``agents`` has ages of its own for some agents'
    runs: ``{name: {state: age}}``."""

    succeeded: timedelta | None = None
    failed: timedelta | None = None
    dead: timedelta | None = None
    cancelled: timedelta | None = None
    generations: timedelta | None = None
    blobs: timedelta | None = None
    agents: dict[str, dict[str, timedelta | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Policy of one agent (``[agents.NAME]``); what is left out keeps its default. ``tools`` is
    ``{tool name: "reads" | "idempotent" | "once"}``."""

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


@dataclass(frozen=True, slots=True)
class Config:
    """Everything. ``sources`` maps ``section.key`` to where its value came from."""

    store: StoreConfig = field(default_factory=StoreConfig)
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    gateway: GatewayConfig = field(default_factory=GatewayConfig)
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    log: LogConfig = field(default_factory=LogConfig)
    testing: TestingConfig = field(default_factory=TestingConfig)
    agents: dict[str, AgentConfig] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict, compare=False)

    def blob_place(self) -> str:
        """Where large values go: an absolute folder, so that a later chdir of the agent does not
        lead to another, or ``s3://bucket/prefix``."""
        if self.store.blobs.startswith("s3://"):
            return self.store.blobs
        return os.path.abspath(self.blob_folder())

    def blob_folder(self) -> Path:
        """The folder for large values, where they go into one."""
        if self.store.blobs:
            return Path(self.store.blobs)
        if self.store.url.startswith("sqlite:///"):
            return Path(self.store.url.removeprefix("sqlite:///")).with_suffix(".blobs")
        return Path(".perdure/blobs")

    def show(self) -> list[tuple[str, Any, str]]:
        """(``section.key``, value, source) of every setting; passwords are masked."""
        rows: list[tuple[str, Any, str]] = []
        for section in fields(self):
            part = getattr(self, section.name)
            if is_dataclass(part):
                for item in fields(part):
                    key = f"{section.name}.{item.name}"
                    rows.append((key, _plain(getattr(part, item.name)), self._source(key)))
        for name, agent in self.agents.items():
            for item in fields(agent):
                value = getattr(agent, item.name)
                if value not in (None, {}):
                    key = f"agents.{name}.{item.name}"
                    rows.append((key, _plain(value), self._source(key)))
        return rows

    def _source(self, key: str) -> str:
        return self.sources.get(key, "default")


# Short names for what is set most often.
_SHORT = {"PERDURE_STORE": "store.url"}
_SECTIONS = {
    "store": StoreConfig,
    "worker": WorkerConfig,
    "server": ServerConfig,
    "gateway": GatewayConfig,
    "retention": RetentionConfig,
    "log": LogConfig,
    "testing": TestingConfig,
}


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Config:
    """Load the settings. ``path`` is a perdure.toml (default: in the current folder, if there is
    one); ``flags`` maps ``section.key`` to values that are not None. Raises ConfigError."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    agents: dict[str, AgentConfig] = {}
    where = path or Path(environ.get("PERDURE_CONFIG", FILE))
    if where.is_file():
        document = _read(where)
        for section, content in document.items():
            if section == "agents":
                agents = _agents(content, where, sources)
                continue
            known = _SECTIONS.get(section)
            if known is None:
                raise _unknown(f"[{section}]", where, [*_SECTIONS, "agents"])
            if not isinstance(content, dict):
                raise ConfigError(f"{where}: {section} must be a table: [{section}]")
            for key, value in _flat(known, content):
                _set(values, sources, f"{section}.{key}", value, str(where))
    elif path is not None or "PERDURE_CONFIG" in environ:
        raise ConfigError(f"The settings file {where} does not exist.")
    for name, value in environ.items():
        if name in _SHORT:
            _set(values, sources, _SHORT[name], value, name)
        elif name.startswith("PERDURE_"):
            section, _, key = name.removeprefix("PERDURE_").lower().partition("_")
            if section in _SECTIONS and key:
                _set(values, sources, f"{section}.{key}", value, name)
            elif not value.startswith(("tcp://", "udp://")):  # Kubernetes' word for a service
                _refuse_misspelt(section, key, name)
    for dotted, value in (flags or {}).items():
        if value is not None:
            _set(values, sources, dotted, value, "flag")
    parts = {
        section: cls(
            **{k.partition(".")[2]: v for k, v in values.items() if k.startswith(section + ".")}
        )
        for section, cls in _SECTIONS.items()
    }
    return Config(**parts, agents=agents, sources=sources)


def client_settings(environ: Mapping[str, str] | None = None) -> tuple[str | None, str | None]:
    """(URL of the server, API key) for a client: ``PERDURE_URL`` and ``PERDURE_API_KEY``."""
    environ = os.environ if environ is None else environ
    return environ.get("PERDURE_URL") or None, environ.get("PERDURE_API_KEY") or None


def _flat(cls: type, content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings of a section; a table in it holds those whose names begin with its own."""
    known = {item.name for item in fields(cls)}
    for key, value in content.items():
        if isinstance(value, dict) and key not in known:
            yield from ((f"{key}_{name}", inner) for name, inner in value.items())
        else:
            yield key, value


def duration(text: str | float | timedelta) -> timedelta:
    """``30``, ``"30s"``, ``"500ms"``, ``"5m"``, ``"2h"``, ``"1d"``. Raises ValueError."""
    if isinstance(text, timedelta):
        return text
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*", str(text))
    if match is None:
        raise ValueError(f"{text!r} is no duration; examples: 30, 500ms, 30s, 5m, 2h, 1d")
    unit = {"ms": 0.001, None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    return timedelta(seconds=float(match[1]) * unit)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _agents(content: Any, where: Path, sources: dict[str, str]) -> dict[str, AgentConfig]:
    agents: dict[str, AgentConfig] = {}
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: agents must hold tables: [agents.NAME]")
    for name, settings in content.items():
        if not isinstance(settings, dict):
            raise ConfigError(f"{where}: agents.{name} must be a table: [agents.{name}]")
        values: dict[str, Any] = {}
        for key, value in settings.items():
            dotted = f"agents.{name}.{key}"
            values[key] = _convert(AgentConfig, key, value, dotted, str(where))
            sources[dotted] = str(where)
        agents[name] = AgentConfig(**values)
    return agents


def _set(values: dict[str, Any], sources: dict[str, str], dotted: str, value: Any, at: str) -> None:
    section, _, key = dotted.partition(".")
    values[dotted] = _convert(_SECTIONS[section], key, value, dotted, at)
    sources[dotted] = at


def _convert(cls: type, key: str, value: Any, dotted: str, at: str) -> Any:
    kinds = get_type_hints(cls)
    if key not in kinds:
        raise _unknown(dotted, at, sorted(kinds))
    kind = kinds[key]
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    optional = type(None) in options
    kind = next(k for k in options if k is not type(None))
    if optional and isinstance(value, str) and value.strip().lower() in NEVER:
        return None
    try:
        converted = _as(kind, value)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{dotted} = {value!r} (from {at}) is not {_noun(kind)}: {error}"
        ) from None
    least = _LEAST.get(f"agents.*.{key}" if cls is AgentConfig else dotted)
    if least is not None and converted < least:
        raise ConfigError(f"{dotted} = {value!r} (from {at}) is too little: say more than 0.")
    if dotted == "server.port" and converted > _PORTS:
        raise ConfigError(f"{dotted} = {value!r} (from {at}) is no port: they end at {_PORTS}.")
    return converted


def _as(kind: Any, value: Any) -> Any:
    if kind is timedelta:
        return duration(value)
    if kind is bool:
        if isinstance(value, bool):
            return value
        text = str(value).strip().lower()
        if text in ("1", "true", "yes", "on"):
            return True
        if text in ("0", "false", "no", "off"):
            return False
        raise ValueError("say true or false")
    if kind is int:
        if isinstance(value, bool | float):
            raise ValueError("say a whole number")
        number = int(value)
        if number < 0:
            raise ValueError("it cannot be negative")
        return number
    if get_origin(kind) is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(v, str) for v in items):
            raise ValueError('say a list of texts, such as ["one", "two"]')
        return tuple(item.strip() for item in items if item.strip())
    if get_origin(kind) is dict and get_origin(get_args(kind)[1]) is dict:
        return _ages(value)
    if get_origin(kind) is dict:
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise ValueError('say a table of strings, such as { name = "value" }')
        return dict(value)
    if not isinstance(value, str):
        raise ValueError("say a text")
    return value


def _ages(value: Any) -> dict[str, dict[str, timedelta | None]]:
    """``{agent: {state: age}}``."""
    if not isinstance(value, dict) or not all(isinstance(v, dict) for v in value.values()):
        raise ValueError("say a table for each agent, such as [retention.agents.clerk]")
    states = ("succeeded", "failed", "dead", "cancelled")
    found: dict[str, dict[str, timedelta | None]] = {}
    for agent, ages in value.items():
        for state, age in ages.items():
            if state not in states:
                raise ValueError(f"{agent}.{state} is none of {', '.join(states)}")
            never = isinstance(age, str) and age.strip().lower() in NEVER
            found.setdefault(agent, {})[state] = None if never else duration(age)
    return found


def _noun(kind: Any) -> str:
    if get_origin(kind) in (dict, tuple):
        return "a table" if get_origin(kind) is dict else "a list"
    return {timedelta: "a duration", bool: "a boolean", int: "a whole number"}.get(kind, "a text")


def _refuse_misspelt(section: str, key: str, name: str) -> None:
    """A variable of no section may be somebody else's; one that is nearly ours is a mistake."""
    for near in get_close_matches(section, _SECTIONS, n=1, cutoff=0.8):
        if any(item.name == key for item in fields(_SECTIONS[near])):
            raise ConfigError(
                f"There is no setting {section}.{key} (from {name}).",
                hint=f"Did you mean PERDURE_{near.upper()}_{key.upper()}?",
            )


def _unknown(name: str, at: Path | str, known: list[str]) -> ConfigError:
    return ConfigError(
        f"There is no setting {name} (from {at}).", hint=f"Known: {', '.join(known)}"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, str):
        return SECRET.sub(r"\1***@", value)
    return value
