"""What a provider charges for a token of each kind, in whole numbers: sums are exact.

Prices of most lists hold for a whole call and depend on how long its prompt is: one row for each
step. Rates are nano-dollars for a million tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from perdure.core.charge import Priced
from perdure.gateway.usage import Usage

MILLION = 1_000_000
ENDLESS = 1 << 31  # tokens: where output costs nothing


class Step(NamedTuple):
    """The rates of prompts of more than ``over`` tokens."""

    over: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    reasoning: int


class Rates(NamedTuple):
    """``steps`` rise, the first is for every prompt. ``request`` and ``search`` are nano-dollars
    for one. ``lacks``: the kinds of ``Usage`` that the list has no price for: their sums are
    estimates, at the rate of the kind that they are a part of."""

    steps: tuple[Step, ...]
    request: int = 0
    search: int = 0
    priced: Priced = Priced.KNOWN
    lacks: frozenset[str] = frozenset()

    def cost(self, used: Usage) -> int:
        """Nano-dollars, rounded once to the nearest."""
        step = self._step(used.input)
        read = min(used.cache_read, used.input)
        write = min(used.cache_write, used.input - read)
        hour = min(used.cache_write_1h, write)
        thoughts = min(used.reasoning, used.output)
        total = (
            (used.input - read - write) * step.input
            + read * step.cache_read
            + (write - hour) * step.cache_write
            + hour * step.cache_write_1h
            + (used.output - thoughts) * step.output
            + thoughts * step.reasoning
        )
        return (total + MILLION // 2) // MILLION + self.request + used.searches * self.search

    def saved(self, used: Usage) -> int:
        """What reading from the provider's cache spared: nano-dollars."""
        step = self._step(used.input)
        return max(0, used.cache_read * (step.input - step.cache_read) // MILLION)

    def how(self, used: Usage) -> Priced:
        """How well the cost of ``used`` is known."""
        for kind in self.lacks:
            if getattr(used, kind):
                return Priced.ESTIMATE
        return self.priced

    def bound(self, tokens: int, output: int, writes: str) -> int:
        """The most that a call can cost whose prompt has at most ``tokens`` and whose answer at
        most ``output``: nano-dollars."""
        most = max(
            tokens * dearest + output * each for dearest, each in self._dearest(tokens, writes)
        )
        return -(-most // MILLION) + self.request

    def affordable(self, amount: int, tokens: int, writes: str) -> int:
        """How many tokens of output ``amount`` is enough for, whatever the prompt of at most
        ``tokens`` costs; 0: not for any."""
        room = (amount - self.request) * MILLION
        least = ENDLESS
        for dearest, each in self._dearest(tokens, writes):
            left = room - tokens * dearest
            if left < 0:
                return 0
            least = min(least, left // each if each else ENDLESS)
        return least

    def _step(self, tokens: int) -> Step:
        found = self.steps[0]
        for step in self.steps[1:]:
            if tokens <= step.over:
                break
            found = step
        return found

    def _dearest(self, tokens: int, writes: str) -> Iterator[tuple[int, int]]:
        """(dearest rate of input, of output) of each step that a prompt may come to."""
        for step in self.steps:
            if step is self.steps[0] or tokens > step.over:
                rates = [step.input, step.cache_read]
                rates += [step.cache_write] if writes != "none" else []
                rates += [step.cache_write_1h] if writes == "1h" else []
                yield max(rates), max(step.output, step.reasoning)
