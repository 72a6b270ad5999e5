"""How many tokens a call will take, before it is sent: learned from those before it.

Digests are histograms over logarithmic buckets (as DDSketch: Masson, Rim and Lee, VLDB 2019): each
value is known within 5 %, two digests merge by adding, and halving all counts forgets slowly. One
document a model is shared by all workers: each learns into Estimates of its own and merges those
into the document now and then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, log, sqrt
from typing import Any

from perdure.errors import CodecError

GAMMA = 1.1  # ratio of a bucket's ends: 5 % on either side of its middle
HELD = 1000  # calls a digest remembers; half of them are forgotten when it is full
BUCKETS = 32  # in a digest that is written; the smallest ones are then put together
ENOUGH = 20  # calls before what was learned replaces the first guess
TOKENS_PER_BYTE = 0.5  # the first guess; prose in English has 0.25, JSON and other scripts more
RATE = 80.0  # tokens a second, the first guess (large models of 2026 make 50 to 150)
KINDS = 32  # pairs of agent and step in a model's document; the least used are let go
FORMAT = 1
_LOG = log(GAMMA)


class Digest:
    """A histogram of positive numbers. Not thread-safe."""

    __slots__ = ("buckets", "n")

    def __init__(self, buckets: dict[int, float] | None = None) -> None:
        self.buckets = buckets or {}
        self.n = sum(self.buckets.values())

    def add(self, value: float, weight: float = 1.0) -> None:
        """Count ``value``; below 1e-6 as that."""
        i = ceil(log(max(value, 1e-6)) / _LOG)
        self.buckets[i] = self.buckets.get(i, 0.0) + weight
        self.n += weight
        if self.n > HELD:
            self._halve()

    def merge(self, other: Digest) -> None:
        """Add what ``other`` counted."""
        for i, count in other.buckets.items():
            self.buckets[i] = self.buckets.get(i, 0.0) + count
            self.n += count
        while self.n > HELD:
            self._halve()

    def quantile(self, q: float) -> float:
        """The value that a share ``q`` of them do not exceed (the upper end of its bucket); 0 of
        none."""
        below = 0.0
        for i in sorted(self.buckets):
            below += self.buckets[i]
            if below >= q * self.n - 1e-9:
                return GAMMA**i
        return 0.0

    def moments(self, ceiling: float | None = None) -> tuple[float, float]:
        """Mean and variance, of values cut off at ``ceiling``; 0 of none."""
        if not self.n:
            return 0.0, 0.0
        mean = square = 0.0
        for value, count in self:
            least = value if ceiling is None else min(value, ceiling)
            mean += least * count
            square += least * least * count
        mean /= self.n
        return mean, max(0.0, square / self.n - mean * mean)

    def __iter__(self) -> Iterator[tuple[float, float]]:
        """The middle of each bucket and its count."""
        middle = 2.0 / (1.0 + GAMMA)
        return ((GAMMA**i * middle, count) for i, count in self.buckets.items())

    def encode(self) -> list[list[float]]:
        """As JSON values."""
        rows = sorted(self.buckets.items())
        low, rows = rows[:-BUCKETS], rows[-BUCKETS:]
        if low:
            rows[0] = rows[0][0], rows[0][1] + sum(count for _, count in low)
        return [[i, round(count, 1)] for i, count in rows]

    def _halve(self) -> None:
        self.buckets = {i: n / 2 for i, n in self.buckets.items() if n > 0.05}
        self.n = sum(self.buckets.values())


def digest_of(rows: list[list[float]]) -> Digest:
    """Read back what ``encode`` made."""
    return Digest({int(i): float(count) for i, count in rows})


@dataclass(frozen=True, slots=True)
class Estimate:
    """In tokens, and tokens a second: the fields of a Demand with these names."""

    input: int
    ceiling: int
    expected: float
    variance: float
    rate: float


class Estimates:
    """What was learned of one model. Not thread-safe."""

    def __init__(self) -> None:
        self.per_byte, self.rates, self.outputs = Digest(), Digest(), Digest()
        self.kinds: dict[str, Digest] = {}

    def estimate(self, size: int, ceiling: int, *, agent: str = "", step: str = "") -> Estimate:
        """Of a call with ``size`` bytes of input that may make ``ceiling`` tokens: the input at the
        99th percentile of tokens per byte; the output's mean and variance, of that agent's step, or
        of the model, or, of neither enough is known, as if any length were as likely."""
        per_byte = self.per_byte.quantile(0.99) if self.per_byte.n >= ENOUGH else TOKENS_PER_BYTE
        rate = RATE
        if self.rates.n >= ENOUGH:
            mean, variance = self.rates.moments()
            rate = mean + sqrt(variance / self.rates.n)
        for known in (self.kinds.get(_kind(agent, step)), self.outputs):
            if known is not None and known.n >= ENOUGH:
                expected, variance = known.moments(ceiling)
                break
        else:
            expected, variance = ceiling / 2, ceiling * ceiling / 12
        return Estimate(ceil(size * per_byte), ceiling, expected, variance, rate)

    def learn(
        self,
        size: int,
        input: int,
        output: int,
        *,
        agent: str = "",
        step: str = "",
        seconds: float | None = None,
    ) -> None:
        """A call with ``size`` bytes of input had ``input`` tokens (cached ones included) and made
        ``output`` in ``seconds`` (from its first token to its last; None: not known)."""
        if size > 0 and input > 0:
            self.per_byte.add(input / size)
        if output > 0:
            self.outputs.add(output)
            self.kinds.setdefault(_kind(agent, step), Digest()).add(output)
            if seconds is not None and seconds > 0.2:
                self.rates.add(output / seconds)

    def merge(self, other: Estimates) -> None:
        """Add what ``other`` learned."""
        self.per_byte.merge(other.per_byte)
        self.rates.merge(other.rates)
        self.outputs.merge(other.outputs)
        for kind, digest in other.kinds.items():
            self.kinds.setdefault(kind, Digest()).merge(digest)

    def encode(self) -> dict[str, Any]:
        """As JSON values."""
        most = sorted(self.kinds, key=lambda kind: self.kinds[kind].n, reverse=True)[:KINDS]
        return {
            "v": FORMAT, "i": self.per_byte.encode(), "r": self.rates.encode(),
            "o": self.outputs.encode(), "k": {kind: self.kinds[kind].encode() for kind in most},
        }  # fmt: skip


def decode_estimates(value: object) -> Estimates:
    """Read back what ``encode`` made. Raises CodecError for anything else."""
    learned = Estimates()
    try:
        if not isinstance(value, dict) or value["v"] != FORMAT:
            raise ValueError("it is no such document, or of another version")
        learned.per_byte, learned.rates = digest_of(value["i"]), digest_of(value["r"])
        learned.outputs = digest_of(value["o"])
        learned.kinds = {kind: digest_of(rows) for kind, rows in value["k"].items()}
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CodecError(f"A shared document of estimates cannot be read: {error!r}.") from error
    return learned


def _kind(agent: str, step: str) -> str:
    return f"{agent}\n{step}"
