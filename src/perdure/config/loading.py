"""Loading the settings: the file, the environment, the flags."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from perdure.config.convert import convert, unknown
from perdure.config.sections import (
    AgentConfig,
    GatewayConfig,
    LogConfig,
    ProxyConfig,
    RetentionConfig,
    ServerConfig,
    SpendConfig,
    StoreConfig,
    TestingConfig,
    WorkerConfig,
)  # fmt: skip
from perdure.config.settings import Config
from perdure.config.tables import LISTS, NAMED, read_tables
from perdure.errors import ConfigError

FILE = "perdure.toml"

# Short names for what is set most often.
_SHORT = {"PERDURE_STORE": "store.url"}
_SECTIONS = {
    "store": StoreConfig,
    "worker": WorkerConfig,
    "server": ServerConfig,
    "gateway": GatewayConfig,
    "proxy": ProxyConfig,
    "spend": SpendConfig,
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
    tables: dict[str, Any] = {}
    where = path or Path(environ.get("PERDURE_CONFIG", FILE))
    if where.is_file():
        document = _read(where)
        tables = read_tables(document, str(where), sources)
        for section, content in document.items():
            if section == "agents":
                agents = _agents(content, where, sources)
                continue
            if section in LISTS or section in NAMED:
                continue
            known = _SECTIONS.get(section)
            if known is None:
                raise unknown(f"[{section}]", where, [*_SECTIONS, "agents", *LISTS, *NAMED])
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
    return Config(**parts, **tables, agents=agents, sources=sources)


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
            values[key] = convert(AgentConfig, key, value, dotted, str(where), "agents")
            sources[dotted] = str(where)
        agents[name] = AgentConfig(**values)
    return agents


def _set(values: dict[str, Any], sources: dict[str, str], dotted: str, value: Any, at: str) -> None:
    section, _, key = dotted.partition(".")
    values[dotted] = convert(_SECTIONS[section], key, value, dotted, at)
    sources[dotted] = at


def _refuse_misspelt(section: str, key: str, name: str) -> None:
    """A variable of no section may be somebody else's; one that is nearly ours is a mistake."""
    for near in get_close_matches(section, _SECTIONS, n=1, cutoff=0.8):
        if any(item.name == key for item in fields(_SECTIONS[near])):
            raise ConfigError(
                f"There is no setting {section}.{key} (from {name}).",
                hint=f"Did you mean PERDURE_{near.upper()}_{key.upper()}?",
            )
