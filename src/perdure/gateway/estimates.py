"""What a call is expected to take, learned from those before it."""

from __future__ import annotations

from typing import NamedTuple

from perdure.core.shared import Shared
from perdure.gateway.usage import Usage


class Guess(NamedTuple):
    """Of a call's output, in tokens."""

    ceiling: int
    expected: float
    variance: float


class Estimates:
    """Of one worker."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def prompt(self, provider: str, model: str, size: int) -> int:
        """Tokens of a prompt of ``size`` bytes."""
        return max(1, size // 2)

    def output(self, agent: str, step: str, model: str, bound: int | None) -> Guess:
        """Of a call that may say at most ``bound`` tokens."""
        ceiling = bound or 4096
        return Guess(ceiling, min(ceiling, 500.0), 250_000.0)

    def saw(self, provider: str, model: str, agent: str, step: str, size: int, used: Usage) -> None:
        """What a call took."""
