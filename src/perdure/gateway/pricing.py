"""What a call cost, and what it can cost at most: the settings' prices, else the providers' lists.

A price that nobody knows is no price: the cost is 0, marked unknown. Times are seconds since 1970,
amounts nano-dollars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from perdure.config import PriceConfig
from perdure.core.charge import Priced
from perdure.core.pattern import exactness
from perdure.gateway.price_list import find, library
from perdure.gateway.rates import Rates, Step
from perdure.gateway.usage import Usage

_REMEMBERED = 4096  # model names come from callers: not for ever
_NOTHING: Mapping[str, str] = {}


class Price(NamedTuple):
    """``saved``: what reading from the provider's cache spared."""

    cost: int
    saved: int
    priced: Priced


_UNKNOWN = Price(0, 0, Priced.UNKNOWN)


class Pricing:
    """``overrides`` are ``[[prices]]``: of those that fit, the one that names the model closest.

    Rates are remembered for the minute that they were looked up in, as some change by date or time
    of day; a price after that takes a few microseconds.
    """

    def __init__(self, overrides: Sequence[PriceConfig] = ()) -> None:
        self._overrides = tuple(overrides)
        self._known: dict[tuple[str, str, tuple[tuple[str, str], ...]], tuple[int, Rates | None]]
        self._known = {}

    def warm(self) -> None:
        """Load the lists: a quarter of a second, which no event loop should wait for."""
        library()
        self.rates("openai", "gpt-5", 0.0)

    def price(
        self, provider: str, model: str, used: Usage, at: float, terms: Mapping[str, str] = _NOTHING
    ) -> Price:
        """What a call did cost. ``terms``: see ``perdure.gateway.usage.reading``."""
        rates = self.rates(provider, model, at, terms)
        if rates is None:
            return _UNKNOWN
        return Price(rates.cost(used), rates.saved(used), rates.how(used))

    def bound(
        self,
        provider: str,
        model: str,
        tokens: int,
        output: int,
        at: float,
        terms: Mapping[str, str] = _NOTHING,
        writes: str = "1h",
    ) -> int | None:
        """The most that a call can cost with at most so many tokens of prompt and output; None: its
        price is unknown. ``writes``: whether it may write to the provider's cache, and for how
        long: ``none``, ``5m`` or ``1h``. Searches of the provider's own are not in it."""
        rates = self.rates(provider, model, at, terms)
        return None if rates is None else rates.bound(tokens, output, writes)

    def affordable(
        self,
        provider: str,
        model: str,
        amount: int,
        tokens: int,
        at: float,
        terms: Mapping[str, str] = _NOTHING,
        writes: str = "1h",
    ) -> int | None:
        """How many tokens of output ``amount`` is enough for, with at most ``tokens`` of prompt: 0
        for none; None: the price is unknown."""
        rates = self.rates(provider, model, at, terms)
        return None if rates is None else rates.affordable(amount, tokens, writes)

    def rates(
        self, provider: str, model: str, at: float, terms: Mapping[str, str] = _NOTHING
    ) -> Rates | None:
        """The rates that hold then."""
        key = (provider, model, tuple(sorted(terms.items())) if terms else ())
        minute = int(at // 60)
        remembered = self._known.get(key)
        if remembered is not None and remembered[0] == minute:
            return remembered[1]
        found = self._override(provider, model)
        if found is None and model:
            found = find(provider, model, at, terms)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[key] = (minute, found)
        return found

    def _override(self, provider: str, model: str) -> Rates | None:
        fitting = [
            (exactness(one.model, model), one.provider != "*", -place, one)
            for place, one in enumerate(self._overrides)
            if one.provider in ("*", provider) and exactness(one.model, model) >= 0
        ]
        return _from(max(fitting, key=lambda row: row[:3])[3]) if fitting else None


def _from(said: PriceConfig) -> Rates:
    def or_else(value: int | None, other: int) -> int:
        return other if value is None else value

    written = or_else(said.cache_write, said.input)
    step = Step(
        over=-1,
        input=said.input,
        output=said.output,
        cache_read=or_else(said.cache_read, said.input),
        cache_write=written,
        cache_write_1h=or_else(said.cache_write_1h, written),
        reasoning=or_else(said.reasoning, said.output),
    )
    return Rates((step,), priced=Priced.OVERRIDE, lacks=frozenset({"searches"}))
