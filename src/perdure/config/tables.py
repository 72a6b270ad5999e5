"""Reading the lists of tables: ``[[limits]]``, ``[[routes]]``, ``[[budgets]]``, ``[[prices]]``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from decimal import Decimal
from typing import Any, TypeVar

from perdure.config import rules
from perdure.config.convert import convert, kinds
from perdure.config.credentials import read_keys
from perdure.config.lists import LimitConfig, PriceConfig
from perdure.config.values import dollars, money
from perdure.core.budget import Budget
from perdure.core.routing import Route, Target
from perdure.errors import ConfigError

T = TypeVar("T")

LISTS: dict[str, type] = {
    "limits": LimitConfig,
    "routes": Route,
    "budgets": Budget,
    "prices": PriceConfig,
}
NAMED = ("keys",)  # beside agents: tables by name


def read_tables(document: Mapping[str, Any], at: str, sources: dict[str, str]) -> dict[str, Any]:
    """The lists of a settings file, and its ``[keys]``. Raises ConfigError."""
    found: dict[str, Any] = {}
    if "keys" in document:
        found["keys"] = read_keys(document["keys"], at, sources)
    for section, cls in LISTS.items():
        if section not in document:
            continue
        content = document[section]
        if not isinstance(content, list) or not all(isinstance(v, dict) for v in content):
            raise ConfigError(f"{at}: {section} must be a list of tables: [[{section}]]")
        before = _BEFORE.get(section)
        rows: list[Any] = []
        for number, table in enumerate(content, 1):
            name = f"{section}.{number}"
            table = before(table, name, at) if before else table
            rows.append(_table(cls, table, name, at, section, sources))
        found[section] = tuple(rows)
    rules.check(found, at)
    return found


def _table(
    cls: type[T],
    table: Mapping[str, Any],
    name: str,
    at: str,
    section: str,
    sources: dict[str, str],
) -> T:
    values: dict[str, Any] = {}
    for key, value in table.items():
        if kinds(cls).get(key) == tuple[Target, ...]:
            values[key] = _targets(value, f"{name}.{key}", at, sources)
        else:
            values[key] = convert(cls, key, value, f"{name}.{key}", at, section)
        sources[f"{name}.{key}"] = at
    for item in fields(cls):  # type: ignore[arg-type]
        if item.default is MISSING and item.default_factory is MISSING and item.name not in values:
            raise ConfigError(
                f"{name} (the {_th(name)} [[{section}]] of {at}) lacks {item.name}.",
                hint=f"Add {item.name} = … Known: {', '.join(sorted(kinds(cls)))}",
            )
    return cls(**values)


def _targets(content: Any, name: str, at: str, sources: dict[str, str]) -> tuple[Target, ...]:
    if not isinstance(content, list) or not all(isinstance(v, dict) for v in content):
        raise ConfigError(
            f"{name} (from {at}) is not a list of tables.",
            hint='Write targets = [{ name = "first" }, { name = "second", key = "LABEL" }]',
        )
    return tuple(
        _table(Target, table, f"{name}.{number}", at, "targets", sources)
        for number, table in enumerate(content, 1)
    )


def _th(name: str) -> str:
    number = int(name.rpartition(".")[2])
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def _soft(table: Mapping[str, Any], name: str, at: str) -> Mapping[str, Any]:
    """``soft`` is written as parts of ``usd`` (0.8, "80%") or as amounts ("40.00")."""
    if "soft" not in table or "usd" not in table:
        return table
    said = table["soft"]
    items = said if isinstance(said, list) else [said]
    try:
        whole = money(table["usd"])
        amounts = sorted({_amount(item, whole) for item in items})
    except ValueError as error:
        raise ConfigError(
            f"{name}.soft = {said!r} (from {at}) is not right: {error}",
            hint='Say parts of usd, such as 0.8 or [0.5, "90%"], or amounts, such as "40.00".',
        ) from None
    # As text, so that it is read again as every other amount.
    return {**table, "soft": [dollars(amount) for amount in amounts]}


def _amount(item: Any, whole: int) -> int:
    if isinstance(item, str):
        text = item.strip()
        if not text.endswith("%"):
            return money(text)
        part = Decimal(money(text.removesuffix("%"))) / (100 * 10**9)
    elif isinstance(item, int | float) and not isinstance(item, bool):
        part = Decimal(str(item))
    else:
        raise ValueError("say numbers or texts")
    if not 0 < part <= 1:
        raise ValueError(
            "a number is a part of usd, more than 0 and at most 1; an amount is a text"
        )
    return int(part * whole)


_BEFORE: dict[str, Callable[[Mapping[str, Any], str, str], Mapping[str, Any]]] = {"budgets": _soft}
