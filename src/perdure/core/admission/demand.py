"""What a call asks for, what it is told, and what it turned out to be."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from perdure.core.admission.limits import Limit, What


def mark(name: str) -> str:
    """``name`` as it stands in documents: a long one is shortened to 32 bits of it."""
    return name if len(name) <= 12 else f"{zlib.crc32(name.encode()):08x}"


@dataclass(frozen=True, slots=True)
class Demand:
    """One call that wants room in all of ``pools`` (keys) at once.

    ``id``: unique among the calls of its worker; short ones keep documents short.
    ``priority``: higher goes first. ``since``: its ticket, unix seconds of the keeper's clock when
    it first asked; 0: now, and ``Later.since`` tells what to keep.
    ``input``: tokens it may be charged for its prompt, cached or not; ``ceiling``: the most it may
    produce (``max_tokens``, or an estimate); ``expected`` and ``variance``: of what it will
    produce, in tokens; ``rate``: tokens a second while it produces.
    """

    id: str
    pools: tuple[str, ...]
    tenant: str = ""
    priority: int = 0
    since: float = 0.0
    input: int = 0
    ceiling: int = 0
    expected: float = 0.0
    variance: float = 0.0
    rate: float = 80.0

    def charge(self, limit: Limit) -> int:
        """What ``limit`` counts of it on arrival; for CONCURRENT one place."""
        what = limit.what
        if what is What.REQUESTS or what is What.CONCURRENT:
            return 1
        if what is What.INPUT or (what is What.TOKENS and limit.produced):
            return self.input
        if limit.produced:
            return 0
        if what is What.OUTPUT:
            return self.ceiling
        if limit.counts == "max":
            return max(self.input, self.ceiling)
        return self.input + self.ceiling


@dataclass(frozen=True, slots=True)
class Admitted:
    """Room is taken: put the call on the wire before ``at + valid_s`` by the worker's estimate of
    the keeper's clock, or settle it as unsent and ask again with the same ticket.

    ``charges``: what was booked in each pool, in the order of its limits. Keep it for ``settle``.
    """

    at: float
    valid_s: float
    charges: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Later:
    """No room now: ask again at ``at`` (unix seconds, keeper's clock; later than now).

    ``since``: the ticket to ask again with. ``bound``: the pool and the limit's name that are the
    last to have room; empty where others go first.
    """

    at: float
    since: float
    bound: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call used, in tokens, as the provider told. ``input``: neither read from the cache nor
    written to it; ``output``: reasoning included."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0

    def charge(self, limit: Limit) -> int:
        """What ``limit`` should have counted on arrival, but for output made since."""
        what = limit.what
        if what is What.REQUESTS or what is What.CONCURRENT:
            return 1
        if what is What.OUTPUT:
            return 0 if limit.produced else self.output
        tokens = self.input + self.cache_write + (self.cache_read if limit.cached else 0)
        if what is What.INPUT or limit.produced:
            return tokens
        return max(tokens, self.output) if limit.counts == "max" else tokens + self.output


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an admitted call ended. ``sent``: False when nothing of it went on the wire. ``usage``:
    None where it is not known (the charge stays). ``took_s``: seconds from admission to its end."""

    admitted: Admitted
    usage: Usage | None = None
    sent: bool = True
    took_s: float | None = None
