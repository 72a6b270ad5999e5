"""Which target of its route a call goes to, try by try."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from perdure.core.retry import Severity
from perdure.core.routing import Asked, Route
from perdure.gateway.targets import Chosen
from perdure.gateway.tries import Tries
from perdure.gateway.trip import Ended, Next

if TYPE_CHECKING:
    from perdure.gateway.gate import Gate

# Another target may well answer what this one refuses for reasons of its own: its key is revoked,
# its money used up, its model gone, its quota another's.
_ELSEWHERE = frozenset({401, 402, 403, 404, 429})


class Course:
    """Of one call. ``broken``: targets whose streams broke in earlier attempts."""

    def __init__(self, gate: Gate, broken: Sequence[str]) -> None:
        self._gate = gate
        self._asked: Asked | None = None
        self._chance = gate.random()
        self._tried = list(broken)  # in this round
        self._due: dict[str, float] = {}  # when targets said to come again
        self.broken = list(broken)
        self.route: Route | None = None
        self.chosen: Chosen | None = None

    @property
    def has_others(self) -> bool:
        """Whether there is another target to go to."""
        return self.route is not None and len(self.route.targets) > 1

    async def choose(self, asked: Callable[[], Asked], *, routable: bool) -> None:
        """Makes sure that a target is ``chosen``, where a route fits. ``routable``: calls of this
        kind can be sent elsewhere. Raises ConfigError."""
        targets = self._gate.targets
        if not targets.any:
            return
        if self._asked is None:
            self._asked = asked()
            if routable:
                self.route = targets.route(self._asked)
        if self.route is None or self.chosen is not None:
            return
        chosen = await targets.next(self.route, self._asked, self._tried, self._chance)
        if chosen is None:  # every one was tried: from the start, less those that are not due
            now = self._gate.clock()
            self._tried = [name for name, at in self._due.items() if at > now]
            chosen = await targets.next(self.route, self._asked, self._tried, self._chance)
        if chosen is None:
            self._tried = []
            chosen = await targets.next(self.route, self._asked, (), self._chance)
        self.chosen = chosen

    async def went(self, ended: Ended) -> None:
        """What a try that is over says about its target."""
        chosen = self.chosen
        if chosen is None:
            return
        if ended.severity is None:
            await self._gate.targets.well(chosen)
        elif ended.severity is Severity.RETRYABLE and ended.answer.status != 429:
            await self._gate.targets.failed(chosen)
        else:
            await self._gate.targets.unsaid(chosen)

    async def unsaid(self) -> None:
        """What came, if anything, says nothing about the target."""
        if self.chosen is not None:
            await self._gate.targets.unsaid(self.chosen)

    def broke(self) -> None:
        """The target's stream broke after its first piece."""
        if self.chosen is not None:
            self.broken = [*self.broken, self.chosen.target.name]

    def following(self, ended: Ended, tries: Tries) -> Next:
        """What follows a try that failed: another target at once, or one of them later."""
        chosen, self.chosen = self.chosen, None
        elsewhere = ended.severity is Severity.RETRYABLE or ended.answer.status in _ELSEWHERE
        if self.route is None or chosen is None or not elsewhere:
            return tries.after(ended)
        name, now = chosen.target.name, self._gate.clock()
        self._tried = [*self._tried, name]
        self._due[name] = now + (ended.retry_after.total_seconds() if ended.retry_after else 0)
        left = [target for target in self.route.targets if target.name not in self._tried]
        if left and tries.may_go_on():
            return Next(0.0, f"{ended.what} from {name}; {left[0].name} is next")
        # Nobody is left: again when the first of them wants to be asked.
        soonest = min(self._due.get(target.name, now) for target in self.route.targets) - now
        after = timedelta(seconds=soonest) if soonest > 0 else None
        return tries.after(ended._replace(retry_after=after))
