"""The loop guard: stops a run whose agent goes round and round, and says why (rule X4)."""

from __future__ import annotations

from dataclasses import dataclass

from perdure.core.record import Kind
from perdure.errors import LoopGuard


@dataclass(frozen=True, slots=True)
class Limits:
    """Per run, replayed effects included; None switches a limit off."""

    model_calls: int | None = 500
    effects: int | None = 10_000
    repeats: int | None = 50  # of one model or tool call with the very same content


class Guard:
    """Counts what one run requests."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._effects = 0
        self._model_calls = 0
        self._repeats: dict[tuple[str, str, bytes], int] = {}

    def admit(self, kind: str, name: str, digest: bytes) -> None:
        """Raises :class:`LoopGuard` when this request is over a limit."""
        limits = self._limits
        self._effects += 1
        if limits.effects is not None and self._effects > limits.effects:
            raise _over("effects", limits.effects, f"last: {kind} {name}")
        if kind == Kind.MODEL:
            self._model_calls += 1
            if limits.model_calls is not None and self._model_calls > limits.model_calls:
                raise _over("model_calls", limits.model_calls, f"last: {name}")
        elif kind != Kind.TOOL:
            return
        if limits.repeats is not None:
            content = (kind, name, digest)
            times = self._repeats[content] = self._repeats.get(content, 0) + 1
            if times > limits.repeats:
                raise _over("repeats", limits.repeats, f"the same {kind} {name} again and again")


def _over(limit: str, value: int, what: str) -> LoopGuard:
    return LoopGuard(
        f"The loop guard stopped this run: more than {value} {limit.replace('_', ' ')} ({what}).",
        hint=f"If the agent means it, raise limits.{limit} for it.",
        limit=limit,
        value=value,
    )
