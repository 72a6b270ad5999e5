"""One setting of a known table: its type, and refusals that name the place."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from perdure.config.values import NEVER, as_kind, noun
from perdure.errors import ConfigError

# With less than this a process would start and do nothing, for no visible reason.
_LEAST: dict[str, int | timedelta] = {
    "worker.concurrency": 1,
    "worker.lease": timedelta(milliseconds=1),
    "server.heartbeat": timedelta(milliseconds=1),
    "gateway.attempts": 1,
    "agents.attempts": 1,
    "agents.cap": 1,
    "agents.max_entries": 1,
    "routes.break_after": 1,
    "spend.hours": 1,
}
_PORTS = 65535
# Words that a setting may have; the first is its default where the table says nothing.
CHOICES: dict[str, tuple[str, ...]] = {
    "agents.preflight": ("off", "wait", "strict"),
    "agents.cache": ("off", "exact"),
    "agents.cache_scope": ("agent", "tenant", "all"),
    "limits.output": ("", "produced", "max_tokens"),
    "routes.sticky": ("", "run", "session"),
    "routes.stream": ("again", "fail"),
    "budgets.per": ("all", "run", "session", "agent", "feature", "tenant"),
    "budgets.every": ("", "hour", "day", "month"),
}


_KINDS: dict[type, dict[str, Any]] = {}


def kinds(cls: type) -> dict[str, Any]:
    """The types of a table's settings."""
    if cls not in _KINDS:
        _KINDS[cls] = get_type_hints(cls)
    return _KINDS[cls]


def convert(cls: type, key: str, value: Any, name: str, at: str, table: str = "") -> Any:
    """``value`` as the setting ``key`` of ``cls``. ``name`` is what people call it, ``at`` where it
    was written, ``table`` what its rules are filed under. Raises ConfigError."""
    known = kinds(cls)
    if key not in known:
        raise unknown(name, at, sorted(known))
    kind = known[key]
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    optional = type(None) in options
    kind = next(k for k in options if k is not type(None))
    if optional and isinstance(value, str) and value.strip().lower() in NEVER:
        return None
    try:
        converted = as_kind(kind, value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{name} = {value!r} (from {at}) is not {noun(kind)}: {error}") from None
    rules = f"{table}.{key}" if table else name
    if rules in _LEAST and converted < _LEAST[rules]:
        raise ConfigError(f"{name} = {value!r} (from {at}) is too little: say more than 0.")
    if rules in ("server.port", "proxy.port") and converted > _PORTS:
        raise ConfigError(f"{name} = {value!r} (from {at}) is no port: they end at {_PORTS}.")
    if rules in CHOICES and converted not in CHOICES[rules]:
        words = ", ".join(word or "(empty)" for word in CHOICES[rules])
        raise ConfigError(f"{name} = {value!r} (from {at}) is none of: {words}.")
    return converted


def unknown(name: str, at: Path | str, known: list[str]) -> ConfigError:
    """The refusal of a setting that there is not."""
    return ConfigError(
        f"There is no setting {name} (from {at}).", hint=f"Known: {', '.join(known)}"
    )
