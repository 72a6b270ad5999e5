"""Money that a run has set aside before it starts: its calls draw on it, and what they did not
need of it comes back to it."""

from __future__ import annotations

import asyncio

from perdure.core.budget import Hold


class Aside:
    """Of one run, in one worker. ``left``: what nothing has drawn yet. Whoever changes it holds
    ``lock``, so that the run's own calls do not draw the same money twice. ``over``: the run is,
    and nothing comes back."""

    __slots__ = ("left", "lock", "over")

    def __init__(self, left: Hold) -> None:
        self.left = left
        self.lock = asyncio.Lock()
        self.over = False

    def put(self, amount: int) -> None:
        """Change what is left by ``amount``."""
        self.left = self.left._replace(amount=max(0, self.left.amount + amount))
