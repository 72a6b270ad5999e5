"""What the provider limits in a play, and what asks for it: one lane for each meter.

A lane is one model with one limit of one kind, its agent's runs, and how much of the limit has to
be used at least. Amounts are small, so that two cores are enough: what counts is how large a call
is beside its limit.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import cache
from typing import Any

from perdure.core.admission.limits import Limit, What
from perdure.testing.simulator import Sizes

KINDS = ("window", "bucket", "small-bucket", "second")
# The setting's name -> what the provider counts, and whose kind of limit it is.
LIMITS = {
    "rpm": ("requests", "anthropic"),
    "itpm": ("input", "anthropic"),
    "otpm": ("output", "anthropic"),
    "tpm": ("tokens", "openai"),
}
AMOUNTS = {"rpm": 120, "itpm": 200_000, "otpm": 40_000, "tpm": 40_000}  # a minute's
CALLS = 3  # of a run
DEMAND = 1.2  # of the limit
LARGEST = 0.01  # of a minute's quota: the largest call
SIZES = Sizes("lognormal", mean=200, tail=0.8)  # the provider's answers, before they are bound
RATE = 100.0  # tokens a second
EXTRA = 60  # tokens of a request beside its words, about
DEVIATIONS = 4  # as many are held above what is expected of calls in flight


@dataclass(frozen=True)
class Lane:
    """``amount`` a minute; ``window``: seconds in which the provider counts its share of that."""

    kind: str
    limit: str
    amount: int
    window: float = 60.0

    @property
    def name(self) -> str:
        """Of its model, its agent and its quota."""
        return f"{self.kind}-{self.limit}"

    @property
    def provider(self) -> str:
        """Whose limits are like that."""
        return LIMITS[self.limit][1]

    @property
    def per(self) -> float:
        """Seconds that the limit as it is declared covers."""
        return 60.0 if self.kind == "second" else self.window

    @property
    def most(self) -> int:
        """Tokens of the largest call."""
        return 20 if self.limit == "rpm" else int(self.amount * LARGEST)

    def quota(self) -> dict[str, Any]:
        """For the provider."""
        amount = self.amount * self.per / 60
        what = {"what": LIMITS[self.limit][0], "amount": amount, "per": self.per, "kind": self.kind}
        return {"limits": [what], "name": self.name, "models": [self.name]}

    def settings(self) -> str:
        """For perdure.toml."""
        lines = [
            "[[limits]]",
            f'provider = "{self.provider}"',
            f'model = "{self.name}"',
            f"{self.limit} = {self.amount}",
            f'window = "{1 if self.kind == "second" else self.window:g}s"',
        ]
        if self.kind == "small-bucket":
            lines.append(f"burst = {0.1 * self.window / 60:g}")
        return "\n".join(lines) + "\n"

    def calls(self, chance: random.Random, count: int = CALLS) -> list[dict[str, Any]]:
        """What a run asks for: words of its prompts, bounds of its answers."""
        found = []
        for _ in range(count):
            words, most = 10, 20
            if self.limit == "itpm":
                words = min(self.most - EXTRA, Sizes("lognormal", self.most / 2, 0.7).draw(chance))
            if self.limit == "tpm":
                # More than their prompts, which the worker can only estimate.
                most = max(100, Sizes("lognormal", self.most / 2, 0.7).draw(chance))
                most = min(self.most, most)
            if self.limit == "otpm":
                most = self.most
            found.append({"words": words, "most": most, "stream": chance.random() < 0.5})
        return found

    @property
    def mean(self) -> float:
        """What a call takes of the limit, on average."""
        return _moments(self)[0]

    def runs_a_second(self) -> float:
        """The demand: above the limit, or above what can be used of it where that is far less."""
        most = 1.0 if self.kind != "second" else max(self.least, 0.5)
        return DEMAND * most * self.amount / 60 / self.mean / CALLS

    @property
    def least(self) -> float:
        """The part of the limit that has to be used where nobody is killed: what
        docs/decisions/0019-exact-windows.md computes from window, slack and the largest call."""
        counted = 1.0 if self.kind == "second" else self.window
        slack = Limit(What.REQUESTS, 1, per=counted).slack
        amount = self.amount * counted / 60
        largest = 1 if self.limit == "rpm" else self.most
        if self.limit == "otpm":
            mean, deviation = _moments(self)
            flight = min(counted, mean / RATE) * self.amount / 60 / mean
            held = DEVIATIONS * deviation * math.sqrt(max(1.0, flight)) / amount
            return max(0.1, min(0.95, 1 - held))
        if self.kind == "small-bucket":
            return 0.9  # 1 - B / LIM: what a bucket of a tenth could not take at once is gone
        if counted == 60 and largest <= LARGEST * amount:
            return 0.95
        return max(0.1, 60 / 61 * counted / (counted + slack) - largest / amount)

    def lost(self, kills: int, aborted: int) -> float:
        """What is given away at ``kills`` that broke ``aborted`` calls off, in units of the limit:
        nobody knows what they still made, so it counts as made, with its deviations."""
        if self.limit != "otpm" or not kills:
            return 0.0
        mean, deviation = _moments(self)
        each = aborted / kills
        return kills * (each * mean + DEVIATIONS * math.sqrt(each) * deviation)


@cache
def _moments(lane: Lane) -> tuple[float, float]:
    """Mean and deviation of what a call takes."""
    if lane.limit == "rpm":
        return 1.0, 0.0
    chance = random.Random(1)
    calls = lane.calls(chance, 4000)
    if lane.limit == "itpm":
        takes = [call["words"] + EXTRA for call in calls]
    elif lane.limit == "tpm":
        takes = [call["most"] for call in calls]
    else:
        takes = [min(call["most"], SIZES.draw(chance)) for call in calls]
    mean = sum(takes) / len(takes)
    return mean, math.sqrt(sum((take - mean) ** 2 for take in takes) / len(takes))
