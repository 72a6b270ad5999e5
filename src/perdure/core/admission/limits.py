"""What a provider limits, as data: which tokens, when they are charged, over what window.

A pool is what shares one set of limits at the provider: a model, several models together, or a
key. Everything that admission computes from a limit alone is computed here, once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from perdure.errors import ConfigError

# A window is counted in so many parts, and one more that is being filled. Output that is counted
# as it is made flows evenly, and what is not known of its times within a part is all that is lost.
PARTS, PARTS_PRODUCED = 60, 120
SLACK_S, SLACK_SHARE, SLACK_LEAST_S = 1.0, 0.05, 0.25  # see Limit.slack


class What(StrEnum):
    """What is counted."""

    REQUESTS = "requests"
    TOKENS = "tokens"  # input and output together
    INPUT = "input"
    OUTPUT = "output"
    CONCURRENT = "concurrent"  # calls at one time


@dataclass(frozen=True, slots=True)
class Limit:
    """``amount`` of ``what`` in any ``per`` seconds (60: a minute's; 86400: a day's).

    ``charged``: "admission" when the provider counts a call as it arrives, "produced" when it
    counts output as it is made (for TOKENS: input on arrival, output as it is made).
    ``burst``: the most it takes at one instant, when it refills a bucket smaller than ``amount``;
    None: it takes all of ``amount`` at once.
    ``cached``: whether tokens read from its prompt cache count.
    ``counts``: how TOKENS charged at admission weigh input and ``max_tokens``: their sum, or the
    larger one.
    ``refund``: whether it takes back what it charged at admission in excess of a call's real use.
    Raises ConfigError.
    """

    what: What
    amount: int
    per: float = 60.0
    charged: Literal["admission", "produced"] = "admission"
    burst: float | None = None
    cached: bool = False
    counts: Literal["sum", "max"] = "sum"
    refund: bool = False

    name: str = field(init=False, repr=False, compare=False)  # of its meter in the document
    slack: float = field(init=False, repr=False, compare=False)
    """Seconds by which the times from admission to arrival may differ between calls: one second,
    or 5 % of the window, or 10 % of the time in which a small bucket refills, but 0.25 s at least.
    Half of it is for the worker (``Admitted.valid_s``), half for the way."""
    parts: int = field(init=False, repr=False, compare=False)
    grain: float = field(init=False, repr=False, compare=False)  # seconds of one part of the window
    rate: float = field(init=False, repr=False, compare=False)  # per second
    capacity: float | None = field(init=False, repr=False, compare=False)
    """What a pacing bucket may hold so that the provider's cannot overflow, whatever calls do
    within the slack; below 0: a call must wait until the bucket has been empty for a while."""
    produced: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.amount < 1 or self.per < 1 or (self.burst is not None and self.burst <= 0):
            raise ConfigError(
                f"A limit of {self.amount} {self.what} in {self.per:g} s cannot be held.",
                hint="amount, per (seconds) and burst are at least 1.",
            )
        if self.charged == "produced" and self.what not in (What.TOKENS, What.OUTPUT):
            raise ConfigError(f"{self.what} are not produced.", hint="Use charged='admission'.")
        put = object.__setattr__
        rate = self.amount / self.per
        produced = self.charged == "produced"
        slack = min(SLACK_S, max(SLACK_LEAST_S, SLACK_SHARE * self.per))
        # Output is booked after it was made: what comes late is only held for longer.
        late = 0.0 if self.what is What.OUTPUT and produced else slack
        # Of the name's parts alone: settings that differ in anything else read one meter alike.
        parts = PARTS_PRODUCED if produced else PARTS
        put(self, "parts", parts)
        put(self, "grain", (self.per + late) / parts)
        if self.burst is not None:
            slack = min(slack, max(SLACK_LEAST_S, 0.1 * self.burst / rate))
        put(self, "produced", produced)
        put(self, "name", f"{self.what}/{self.per:g}{'p' if produced else ''}")
        put(self, "rate", rate)
        put(self, "slack", slack)
        put(self, "capacity", None if self.burst is None else self.burst - rate * slack)


def grain_of(name: str) -> float:
    """Seconds of one part of the meter with that name. Raises ValueError for what is none."""
    what, _, per = name.partition("/")
    produced = per.endswith("p")
    charged: Literal["admission", "produced"] = "produced" if produced else "admission"
    return Limit(What(what), 1, float(per.rstrip("p")), charged).grain


@dataclass(frozen=True, slots=True)
class Pool:
    """Limits that hold together; ``key`` names its document. Raises ConfigError for two limits on
    the same thing over the same window."""

    key: str
    limits: tuple[Limit, ...]

    slack: float = field(init=False, repr=False, compare=False)
    produced: bool = field(init=False, repr=False, compare=False)
    amounts: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = [limit.name for limit in self.limits]
        if len(set(names)) < len(names):
            raise ConfigError(f"The pool {self.key!r} has two limits of one kind: {names}.")
        timed = [limit.slack for limit in self.limits if limit.what is not What.CONCURRENT]
        object.__setattr__(self, "amounts", tuple(limit.amount for limit in self.limits))
        object.__setattr__(self, "slack", min(timed, default=SLACK_S))
        object.__setattr__(self, "produced", any(limit.produced for limit in self.limits))
