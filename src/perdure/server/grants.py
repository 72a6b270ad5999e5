"""What a key of the proxy may do. It is written into the key's scopes, one thing in each:

gateway                     it may call models at all
gateway model=gpt-*         only these (several: any of them)
gateway tenant=acme         its calls are this tenant's
gateway agent=reports       and this agent's: limits, routes, budgets and the ledger go by it
gateway budget=5/day        dollars for each hour, day or month, or ever; hard
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from perdure.config import dollars, money
from perdure.core.budget import Budget, Nano
from perdure.core.pattern import fits
from perdure.core.period import PERIODS
from perdure.errors import InvalidInput

GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Grant:
    """``models``: patterns; none: all. ``usd`` (nano-dollars; None: no budget of its own) for each
    ``every``."""

    models: tuple[str, ...] = ()
    tenant: str = ""
    agent: str = ""
    usd: Nano | None = None
    every: str = ""
    key: str = ""

    @classmethod
    def read(cls, scopes: Iterable[str], key: str) -> Grant:
        """What the scopes of the key with this id say. Raises InvalidInput."""
        models: list[str] = []
        words: dict[str, str] = {}
        for scope in scopes:
            first, _, rest = scope.partition(" ")
            name, sign, value = rest.partition("=")
            if first != GATEWAY or not rest:
                continue
            if not sign or not value or name not in ("model", "tenant", "agent", "budget"):
                raise InvalidInput(f"{scope!r} says nothing that a key of the proxy may be told.")
            if name == "model":
                models.append(value)
            elif words.setdefault(name, value) != value:
                raise InvalidInput(f"A key has one {name}, not {words[name]!r} and {value!r}.")
        usd, every = amount(words["budget"]) if "budget" in words else (None, "")
        return cls(tuple(models), words.get("tenant", ""), words.get("agent", ""), usd, every, key)

    def scopes(self) -> tuple[str, ...]:
        """It, as scopes."""
        found = [GATEWAY, *(f"{GATEWAY} model={model}" for model in self.models)]
        if self.tenant:
            found.append(f"{GATEWAY} tenant={self.tenant}")
        if self.agent:
            found.append(f"{GATEWAY} agent={self.agent}")
        if self.usd is not None:
            amount = dollars(self.usd).removeprefix("$").replace(",", "")
            found.append(f"{GATEWAY} budget={amount}" + (f"/{self.every}" if self.every else ""))
        return tuple(found)

    def allows(self, model: str) -> bool:
        """Whether it may call ``model``."""
        return fits(self.models, model)

    @property
    def budget(self) -> Budget | None:
        """Its own."""
        if self.usd is None:
            return None
        return Budget(name=f"key:{self.key}", usd=self.usd, every=self.every)


def amount(text: str) -> tuple[Nano, str]:
    """``5``, ``0.25/hour``, ``5/day``, ``100/month``: (nano-dollars, period). Raises
    InvalidInput."""
    sum_, _, every = text.partition("/")
    if every and every not in PERIODS:
        raise InvalidInput(f"{text!r} has no period: say one of {', '.join(PERIODS)}, or none.")
    try:
        usd = money(sum_)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is no amount in dollars: {error}") from None
    if usd <= 0:
        raise InvalidInput(f"A budget of {text!r} would let no call through.")
    return Nano(usd), every
