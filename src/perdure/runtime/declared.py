"""What is declared of a step or tool: its promise (rule P1), its timeout, its retries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from perdure.core.record import Kind, Promise
from perdure.core.retry import RetryPolicy
from perdure.errors import BoundaryError


@dataclass(frozen=True, slots=True)
class Declared:
    """What is declared of a step or tool. ``timeout`` bounds each try; ``retries`` are tries
    within one attempt of the run. ``reconcile`` finds out for a ``once`` that was cut whether it
    happened: it is called with the same arguments, returns the result, or raises NotDone."""

    kind: str = Kind.STEP
    name: str | None = None
    effect: Promise = Promise.UNDECLARED
    timeout: timedelta | None = None
    retries: RetryPolicy | None = None
    reconcile: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if self.reconcile is not None and self.effect is not Promise.ONCE:
            raise BoundaryError("reconcile= goes with effect='once'")
        if self.name is not None and ("\0" in self.name or not self.name):
            raise BoundaryError("a step's or tool's name is a non-empty string without NUL")


def declare(
    kind: str,
    name: str | None,
    effect: str | None,
    timeout: timedelta | float | None,
    retries: RetryPolicy | int | None,
    reconcile: Callable[..., Any] | None,
) -> Declared:
    """The declaration as users write it. Raises BoundaryError for an unknown promise."""
    try:
        promise = Promise(effect) if effect is not None else Promise.UNDECLARED
    except ValueError:
        raise BoundaryError(
            f"effect={effect!r} is no promise", hint="One of: reads, idempotent, once."
        ) from None
    if isinstance(timeout, int | float):
        timeout = timedelta(seconds=timeout)
    if isinstance(retries, int):
        retries = RetryPolicy(attempts=retries)
    return Declared(kind, name, promise, timeout, retries, reconcile)


def reads() -> Declared:
    """Promise for ``app.add(agent, tools={"search": reads()})``: running it again is harmless."""
    return Declared(Kind.TOOL, effect=Promise.READS)


def idempotent() -> Declared:
    """Promise: running it again with the same :func:`perdure.idempotency_key` is harmless."""
    return Declared(Kind.TOOL, effect=Promise.IDEMPOTENT)


def once(
    *, timeout: timedelta | float | None = None, reconcile: Callable[..., Any] | None = None
) -> Declared:
    """Promise: at most once. A crash in the middle is answered by ``reconcile`` or an operator."""
    return declare(Kind.TOOL, None, Promise.ONCE, timeout, None, reconcile)
