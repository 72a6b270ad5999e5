"""A brain for load: words of random, heavy-tailed length, produced at a steady rate."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from perdure.errors import InvalidInput
from perdure.testing.simulator.brain import Brain, Reply
from perdure.testing.simulator.call import Call

__all__ = ["Sizes", "load"]

_WORDS = "and the tide comes in, and the tide goes out again, as it did before there were clocks; "
_SHAPES = ("fixed", "lognormal", "pareto")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many tokens answers have: a ``shape`` with this ``mean``.

    fixed: always the mean. lognormal: ``tail`` is the sigma of the logarithm (1.0 makes 1% of
    answers longer than six times the mean). pareto: ``tail`` is the exponent, above 1; the nearer
    to 1, the heavier. ``most`` cuts the tail off.
    """

    shape: str = "lognormal"
    mean: float = 300.0
    tail: float = 1.0
    most: int = 100_000

    def __post_init__(self) -> None:
        if self.shape not in _SHAPES:
            raise InvalidInput(
                f"No shape of sizes is called {self.shape!r}.", hint=f"Known: {', '.join(_SHAPES)}."
            )
        if self.mean < 1 or self.most < 1 or self.tail <= (1 if self.shape == "pareto" else 0):
            raise InvalidInput(
                "Sizes need a mean of at least 1 and a tail above 0, for pareto above 1."
            )

    def draw(self, chance: random.Random) -> int:
        """One size."""
        if self.shape == "fixed":
            size = self.mean
        elif self.shape == "lognormal":
            # The mean of a lognormal is exp(mu + sigma² / 2).
            size = chance.lognormvariate(math.log(self.mean) - self.tail**2 / 2, self.tail)
        else:
            # The mean of a Pareto from m on is m · a / (a - 1).
            size = self.mean * (self.tail - 1) / self.tail * chance.paretovariate(self.tail)
        return max(1, min(self.most, round(size)))

    @classmethod
    def from_words(cls, words: str) -> Sizes:
        """From ``lognormal:300:1.0``: the shape, its mean, its tail, the most. Raises
        InvalidInput."""
        shape, *numbers = words.split(":")
        kinds: tuple[Callable[[str], float], ...] = (float, float, int)
        names = ("mean", "tail", "most")
        try:
            if len(numbers) > len(names):
                raise ValueError("too many numbers")
            given = {
                name: kind(raw) for name, kind, raw in zip(names, kinds, numbers, strict=False)
            }
        except ValueError as error:
            raise InvalidInput(f"The sizes {words!r} cannot be read: {error}") from error
        return cls(shape, **given)  # type: ignore[arg-type]


def load(
    sizes: Sizes | None = None, *, rate: float = 0.0, seed: int = 0, chunks: int = 8,
    delay: float = 0.0,
) -> Brain:  # fmt: skip
    """Answers with words of a random size, at most ``max_tokens`` (then the finish is "length").

    ``rate``: tokens a second; 0: at once. ``chunks``: into how many pieces a stream is cut, at
    most: few, so that one core carries hundreds of calls a second. ``delay``: seconds to the first
    token. The size depends on ``seed``, the request and how often it came. Raises InvalidInput.
    """
    if rate < 0 or delay < 0 or chunks < 1:
        raise InvalidInput("load() needs rate and delay of at least 0 and chunks of at least 1.")
    dice = sizes or Sizes()

    def talk(call: Call) -> Reply:
        # A seed of its own for each call: the order in which calls arrive changes nothing.
        chance = random.Random(f"{seed}:{call.digest}:{call.occurrence}")
        wanted = dice.draw(chance)
        tokens = wanted if call.ceiling is None else max(1, min(wanted, call.ceiling))
        text = (_WORDS * (tokens * 4 // len(_WORDS) + 1))[: tokens * 4]
        return Reply(
            text, finish="length" if tokens < wanted else "stop", delay=delay, rate=rate,
            chunk=max(4, -(-tokens // chunks) * 4),
        )  # fmt: skip

    return talk
