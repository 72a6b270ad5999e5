"""Tokens and money in few characters."""

from __future__ import annotations

from decimal import Decimal

from perdure.gateway.usage import Usage


def count(tokens: int) -> str:
    """``950``, ``1.2k``, ``35k``, ``1.4M``."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if tokens >= size:
            shown = tokens / size
            return f"{shown:.1f}{unit}" if shown < 9.95 else f"{shown:.0f}{unit}"
    return str(tokens)


def tokens(used: Usage) -> str:
    """``1.2k in, 80 out``; what came from a cache is said, since it costs less."""
    cached = f" ({count(used.cache_read)} cached)" if used.cache_read else ""
    return f"{count(used.input)}{cached} in, {count(used.output)} out"


def dollars(amount: Decimal) -> str:
    """``$0.0042``, ``$1.27``: two digits that say something, at least two decimals."""
    if amount <= 0:
        return "$0"
    if amount >= Decimal("0.1"):
        return f"${amount:.2f}"
    if amount < Decimal("0.000001"):
        return "<$0.000001"
    return f"${amount:.{1 - amount.adjusted()}f}"
