"""What must hold between the tables of a settings file: names that are known, and told apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from perdure.config.credentials import KeyConfig
from perdure.config.lists import PROVIDERS, LimitConfig, PriceConfig
from perdure.core.budget import Budget
from perdure.core.routing import Route, Target
from perdure.errors import ConfigError


def check(found: Mapping[str, Any], at: str) -> None:
    """Raises ConfigError for the first thing that cannot be meant."""
    keys: Mapping[str, KeyConfig] = found.get("keys", {})
    _limits(found.get("limits", ()), keys, at)
    _routes(found.get("routes", ()), keys, at)
    _budgets(found.get("budgets", ()), at)
    for number, price in enumerate(found.get("prices", ()), 1):
        assert isinstance(price, PriceConfig)
        _provider(price.provider, f"prices.{number}", at, "*")


def _limits(limits: Iterable[LimitConfig], keys: Mapping[str, KeyConfig], at: str) -> None:
    seen: dict[tuple[Any, ...], str] = {}
    for number, limit in enumerate(limits, 1):
        name = f"limits.{number}"
        _provider(limit.provider, name, at)
        _key(limit.key, name, keys, at)
        if not limit.amounts:
            raise ConfigError(
                f"{name} (from {at}) limits nothing.",
                hint="Say rpm, tpm, itpm, otpm, rpd, tpd or concurrent.",
            )
        zero = next((n for n, amount in limit.amounts.items() if not amount), None)
        if zero:
            raise ConfigError(
                f"{name}.{zero} = 0 (from {at}) would let no call through.",
                hint="For no limit, leave it out.",
            )
        _window(limit, name, at)
        what: tuple[Any, ...] = (limit.provider, limit.key, limit.pool)
        hint = 'Several models share limits in one table: model = ["one", "two-*"].'
        if not limit.pool:
            what = (limit.provider, limit.key, "", limit.model)
            hint = "Put them into one table."
        if what in seen:
            raise ConfigError(f"{seen[what]} and {name} (from {at}) are of the same.", hint=hint)
        seen[what] = name


def _window(limit: LimitConfig, name: str, at: str) -> None:
    window = limit.window.total_seconds()
    if not 1 <= window <= 60:
        raise ConfigError(f"{name}.window (from {at}) is not between 1s and 60s.")
    for said, amount in limit.amounts.items():
        if said in ("rpm", "tpm", "itpm", "otpm") and amount * window < 60:
            raise ConfigError(
                f"{name}.{said} = {amount} (from {at}) is less than one in {window:g}s.",
                hint="Say a longer window.",
            )
    if limit.burst is not None and limit.burst * 60 > window:
        raise ConfigError(
            f"{name}.burst (from {at}) is more than a window of {window:g}s takes.",
            hint='burst is a part of a minute\'s quota, such as 0.1 or "6s".',
        )


def _routes(routes: Iterable[Route], keys: Mapping[str, KeyConfig], at: str) -> None:
    names: dict[str, str] = {}
    targets: dict[str, tuple[str, Target]] = {}
    for number, route in enumerate(routes, 1):
        name = f"routes.{number}"
        _told_apart(names, route.name, name, at)
        if not route.targets:
            raise ConfigError(
                f"{name} (from {at}) has no targets.", hint="Add targets = [{ name = … }]"
            )
        low, high = route.min_prompt, route.max_prompt
        if low is not None and high is not None and low > high:
            raise ConfigError(f"{name} (from {at}) fits no prompt: min_prompt is over max_prompt.")
        if route.sticky and not any(target.weight for target in route.targets):
            raise ConfigError(
                f"{name} (from {at}) is sticky without weights.",
                hint="Without weights the first target is always tried first: leave sticky out.",
            )
        inside: dict[str, str] = {}
        for place, target in enumerate(route.targets, 1):
            where = f"{name}.targets.{place}"
            _told_apart(inside, target.name, where, at)
            if target.provider:
                _provider(target.provider, where, at)
            _key(target.key, where, keys, at)
            _url(target.base_url, where, at)
            plain = _without_weight(target)
            if targets.setdefault(target.name, (where, plain))[1] != plain:
                raise ConfigError(
                    f"{targets[target.name][0]} and {where} (from {at}) are both named "
                    f"{target.name!r} and differ.",
                    hint="A target's breaker goes by its name: give one of them another.",
                )


def _without_weight(target: Target) -> Target:
    return Target(
        name=target.name, provider=target.provider, base_url=target.base_url, model=target.model,
        key=target.key,
    )  # fmt: skip


def _budgets(budgets: Iterable[Budget], at: str) -> None:
    names: dict[str, str] = {}
    for number, budget in enumerate(budgets, 1):
        name = f"budgets.{number}"
        _told_apart(names, budget.name, name, at)
        if budget.per == "run" and budget.every:
            raise ConfigError(
                f"{name} (from {at}) is per run and has a period.",
                hint="A run's budget lasts as long as the run: leave every out.",
            )
        if any(not 0 < soft <= budget.usd for soft in budget.soft):
            raise ConfigError(
                f"{name}.soft (from {at}) is not between nothing and usd: it would never be told."
            )
        if not budget.hard and not budget.soft:
            raise ConfigError(
                f"{name} (from {at}) is not hard and has no soft amounts: nothing would follow.",
                hint="Say soft = 1.0 to be told when it is spent.",
            )


def _told_apart(names: dict[str, str], said: str, name: str, at: str) -> None:
    if not said.strip():
        raise ConfigError(f"{name}.name (from {at}) is empty.", hint="Give it a name.")
    if said in names:
        raise ConfigError(
            f"{names[said]} and {name} (from {at}) are both named {said!r}.",
            hint="Give one of them another name.",
        )
    names[said] = name


def _provider(said: str, name: str, at: str, *more: str) -> None:
    if said in PROVIDERS or said in more:
        return
    near = get_close_matches(said, PROVIDERS, n=1)
    raise ConfigError(
        f"{name}.provider = {said!r} (from {at}) is no known provider.",
        hint=f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(sorted(PROVIDERS))}",
    )


def _key(label: str, name: str, keys: Mapping[str, KeyConfig], at: str) -> None:
    if label and label not in keys:
        known = ", ".join(sorted(keys)) or "none"
        raise ConfigError(
            # What stands there may be the secret itself, so it is not repeated.
            f"{name}.key (from {at}) is the label of no [keys.LABEL] table.",
            hint=f"Labels: {known}. A label is no secret: [keys.LABEL] says where that is.",
        )


def _url(said: str, name: str, at: str) -> None:
    if not said:
        return
    try:
        parts = urlsplit(said)
        good = parts.scheme in ("http", "https") and parts.hostname and not parts.query
        secret = parts.username or parts.password
        parts.port  # noqa: B018  # ValueError for one that is none
    except ValueError:
        good, secret = False, None
    if secret:
        raise ConfigError(
            f"{name}.base_url (from {at}) holds a credential.", hint="Use key = LABEL instead."
        )
    if not good:
        raise ConfigError(
            f"{name}.base_url = {said!r} (from {at}) is no base URL.",
            hint='Such as "https://eu.api.example.com/v1".',
        )
