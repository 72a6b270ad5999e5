"""Holding answers back, so that a test can act while a call is certainly in flight.

A held answer waits on a ``concurrent.futures.Future``, which any thread and any event loop can
wait for. Not locked: its owner does that, and resolves what ``release`` returns after unlocking.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from perdure.testing.simulator.faults import Match

__all__ = ["Gate", "Hold"]


@dataclass(frozen=True, slots=True)
class Hold:
    """Which answers are held, and where: before anything is sent, or after so many streamed
    events (before the last one if there are fewer)."""

    match: Match = field(default_factory=Match)
    after_chunks: int = 0


class Gate:
    """At most one hold, and the answers it holds in order of arrival."""

    def __init__(self) -> None:
        self.hold: Hold | None = None
        self.waiting: dict[Future[None], None] = {}

    @property
    def held(self) -> int:
        """How many answers are held now."""
        return len(self.waiting)

    def arrive(self, fits: Callable[[Match], bool], sent: int, last: int) -> Future[None] | None:
        """Asked with ``sent`` events out and ``last`` the number after which only one is left:
        what to wait for, or None to go on."""
        hold = self.hold
        if hold is None or sent != min(hold.after_chunks, last) or not fits(hold.match):
            return None
        future: Future[None] = Future()
        self.waiting[future] = None
        return future

    def leave(self, future: Future[None]) -> None:
        """A held call is over (its client went away)."""
        self.waiting.pop(future, None)

    def release(self, count: int | None = None) -> list[Future[None]]:
        """Takes out the ``count`` oldest answers, and with None all of them and the hold too."""
        if count is None:
            self.hold = None
        freed = list(self.waiting)[:count]
        for future in freed:
            del self.waiting[future]
        return freed
