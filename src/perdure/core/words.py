"""Numbers and states in sentences that people read."""

from __future__ import annotations


def counted(n: int, one: str, many: str | None = None) -> str:
    """``1 run``, ``2 runs``; ``1 run was``, ``2 runs were``. ``many`` is ``one`` with an s."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
