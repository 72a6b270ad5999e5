"""How often a model call is tried, and when again: the same whichever way it goes."""

from __future__ import annotations

from collections.abc import Callable

from perdure.core.retry import decide
from perdure.gateway.retries import RetrySettings
from perdure.gateway.trip import Ended, Go, Next

ENOUGH = Next(None)


class Tries:
    """Of one call. ``clock`` is monotonic, in seconds; ``random`` gives numbers in [0, 1). No try
    starts after ``until``, a time of that clock."""

    __slots__ = ("_clock", "_random", "_settings", "_until", "failures")

    def __init__(
        self,
        settings: RetrySettings,
        clock: Callable[[], float],
        random: Callable[[], float],
        until: float | None = None,
    ) -> None:
        total = clock() + settings.total.total_seconds()
        self._settings = settings
        self._clock = clock
        self._random = random
        self._until = total if until is None else min(until, total)
        self.failures = 0

    def may_go_on(self) -> bool:
        """Whether there is time for another try."""
        return self._clock() < self._until

    def after(self, ended: Ended) -> Next:
        """What follows a try that failed."""
        if ended.severity is None:
            return ENOUGH
        self.failures += 1
        policy = self._settings.policy
        verdict = decide(policy, self.failures, ended.severity, self._random(), ended.retry_after)
        if verdict.again_in is None:
            return ENOUGH
        seconds = verdict.again_in.total_seconds()
        if self._clock() + seconds > self._until:
            return ENOUGH
        tried = f"{ended.what}; try {self.failures + 1} of {policy.attempts} in {seconds:.1f} s"
        return Next(seconds, tried)


class PlainTrip:
    """The way of a call that nobody meters: straight on, and again where that helps."""

    __slots__ = ("_tries",)
    local = True
    hides_usage = False

    def __init__(self, tries: Tries) -> None:
        self._tries = tries

    async def go(self) -> Go:
        """See ``Trip``."""
        return _GO

    def produced(self, text: str) -> None:
        """See ``Trip``."""

    async def over(self, ended: Ended) -> Next:
        """See ``Trip``."""
        return self._tries.after(ended)

    async def unsent(self) -> None:
        """See ``Trip``."""

    async def leave(self) -> None:
        """See ``Trip``."""

    def abandoned(self) -> None:
        """See ``Trip``."""

    def note(self) -> bytes | None:
        """See ``Trip``."""
        return None


_GO = Go()
