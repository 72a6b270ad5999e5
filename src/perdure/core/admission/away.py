"""Calls that are sent away, to come back later, come back one after another.

What those who are present wait for says when there is room for one more, and so would say the same
to all of a thousand runs that are parked: each time a window opens they would all come, and all but
a few of them be sent away again. So each is given a turn behind those that were sent away before,
at the pace at which the limit takes them.

Those that came back in vain are given turns of their own, as they are ahead of all that are new. By
priority and tenant, so that nobody's turn is behind a crowd that they are not behind in line.
"""

from __future__ import annotations

# Of the time in which the limit has room for one more: too many who come back wait a little or are
# given another turn, too few would leave room unused.
SHARE = 0.8
LONGEST_S = 300.0  # nobody is sent away for longer because of others: limits are changed, runs end
CLASSES = 32  # in a document


class Away:
    """Until when turns are given (unix seconds), by class: to those that are new, and to those that
    came back."""

    __slots__ = ("until",)

    def __init__(self) -> None:
        self.until: dict[str, list[float]] = {}

    def turn(self, priority: int, tenant: str, *, new: bool) -> float:
        """When the next turn of a class is."""
        until = self.until.get(_name(priority, tenant))
        return until[0 if new else 1] if until else 0.0

    def give(
        self, priority: int, tenant: str, at: float, pace: float, now: float, *, new: bool
    ) -> None:
        """A turn is given at ``at``; the next one is later by SHARE of ``pace`` seconds, for each
        class with turns to come that this one shares the limit with."""
        name = _name(priority, tenant)
        self.until = {other: until for other, until in self.until.items() if max(until) > now}
        until = self.until.get(name)
        if until is None:
            if len(self.until) >= CLASSES:
                return
            until = self.until[name] = [0.0, 0.0]
        sharing = sum(int(other.partition("/")[0]) >= priority for other in self.until)
        until[0 if new else 1] = round(at + SHARE * pace * sharing, 3)

    def check(self) -> None:
        """Raises TypeError or ValueError for what ``until`` may not hold."""
        for name, (new, again) in self.until.items():
            int(name.partition("/")[0]), new + again + 0.0


def _name(priority: int, tenant: str) -> str:
    return f"{priority}/{tenant}"
