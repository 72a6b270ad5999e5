"""One row of the ledger: a contact with a provider, or one that was saved, and what it cost.

Money is a whole number of nano-dollars (1e-9 USD): prices are given per million tokens, so that
sums are exact.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

NANO = 1_000_000_000  # nano-dollars in a dollar


class Source(StrEnum):
    """Where an answer came from."""

    SENT = "sent"  # the provider gave it
    VOID = "void"  # it broke off and was asked for again: paid for, and of no use
    FAILED = "failed"  # the provider refused, or nobody answered
    CACHED = "cached"  # from the response cache
    REPLAYED = "replayed"  # from the journal: what a crash or a wait did not cost again


class Priced(StrEnum):
    """How the cost is known."""

    KNOWN = "known"
    OVERRIDE = "override"  # the settings say so
    ESTIMATE = "estimate"  # of a tier or kind of token that the price list does not know
    UNKNOWN = "unknown"  # no price: the cost is 0 and is no sum to rely on
    FREE = "free"  # nothing was asked of a provider


class Charge(NamedTuple):
    """``id`` makes the row idempotent: 16 bytes of run, effect and try. ``cache_read`` and
    ``cache_write`` are parts of ``input``, ``reasoning`` of ``output``: all in tokens. ``cost`` and
    ``saved`` (what the provider's or our cache, or the journal, spared) are nano-dollars.
    ``credential`` is a label, never a secret. ``why`` says what chose the target. The time is the
    store's."""

    id: bytes
    agent: str
    provider: str
    model: str
    source: str = Source.SENT
    run_id: str | None = None
    key: bytes | None = None
    step: str = ""
    feature: str = ""
    tenant: str = ""
    session: str = ""
    credential: str = ""
    target: str = ""
    route: str = ""
    why: str = ""
    calls: int = 1
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost: int = 0
    saved: int = 0
    priced: str = Priced.UNKNOWN
    took_ms: int = 0
