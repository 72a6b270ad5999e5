"""Time for the gateway: its clock moves by what it sleeps, at once."""

from __future__ import annotations


class FakeTime:
    """``slept`` is in seconds, in order."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def clock(self) -> float:
        """Monotonic seconds."""
        return sum(self.slept)

    def sleep_blocking(self, seconds: float) -> None:
        """Instead of time.sleep."""
        self.slept.append(seconds)

    async def sleep(self, seconds: float) -> None:
        """Instead of asyncio.sleep."""
        self.slept.append(seconds)
