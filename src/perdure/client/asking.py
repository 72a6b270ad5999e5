"""Asking, and asking again: pure. A call is yielded, its outcome is sent back.

Invariant: what must not be done twice is asked for again only where it certainly was not done, or
where an idempotency key makes the second asking harmless.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias, TypeVar

from perdure.client.failures import failure
from perdure.errors import PerdureError, Unreachable

T = TypeVar("T")

DEFINITE = (429,)  # refused before anything was done
PASSING = (429, 502, 503, 504)  # of whoever is in between, where no document says more


@dataclass(frozen=True, slots=True)
class Retries:
    """How a client asks again: up to ``attempts`` times in all, after ``base`` seconds doubled
    each time up to ``cap``, of which a random part is taken off so that clients do not come back
    together. ``Retry-After`` stands before that; one of more than ``longest`` seconds is not
    waited for."""

    attempts: int = 8
    base: float = 0.25
    cap: float = 10.0
    longest: float = 60.0

    def pause(self, asked: int, after: float | None, chance: float) -> float | None:
        """Seconds until it is asked again, ``asked`` times by now; None: no more. ``chance`` is a
        random number below 1."""
        if asked >= self.attempts or (after is not None and after > self.longest):
            return None
        if after is not None:
            return after + min(after, 1.0) * 0.25 * chance
        grown = self.base * 2.0 ** min(asked - 1, 30)
        return float(min(grown, self.cap) * (1 - chance / 2))


@dataclass(frozen=True, slots=True)
class Call:
    """A request. ``patience``: seconds that the server is asked to wait. ``repeatable``: asking
    twice does no more than asking once."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    patience: float = 0.0
    repeatable: bool = True


class Pause(NamedTuple):
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in small letters
    body: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer. ``sent``: the server may have done it all the same."""

    error: Exception
    sent: bool


Steps: TypeAlias = Generator[Call | Pause, Answer | Lost | None, T]


def asking(call: Call, retries: Retries) -> Steps[Answer]:
    """The answer to ``call``. Raises what the answer's problem document says, Unreachable."""
    asked = 0
    while True:
        outcome = yield call
        asked += 1
        assert outcome is not None
        error, after = verdict(outcome, call.path)
        if error is None:
            assert isinstance(outcome, Answer)
            return outcome
        pause = None
        if error.retryable and (call.repeatable or _undone(outcome)):
            pause = retries.pause(asked, after, random.random())
        if pause is None:
            raise error
        yield Pause(pause)


def verdict(outcome: Answer | Lost, path: str) -> tuple[PerdureError | None, float | None]:
    """What an outcome means: nothing where it is an answer to go on with, else the error and the
    seconds that ``Retry-After`` asks for."""
    if isinstance(outcome, Lost):
        about = f"{type(outcome.error).__name__}: {outcome.error}"
        error = Unreachable(f"There was no answer from {path}: {about}")
        error.__cause__ = outcome.error
        return error, None
    if outcome.status < 400:
        return None, None
    return failure(outcome.status, outcome.body), _seconds(outcome.headers.get("retry-after"))


def _undone(outcome: Answer | Lost) -> bool:
    return not outcome.sent if isinstance(outcome, Lost) else outcome.status in DEFINITE


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdecimal() else None
