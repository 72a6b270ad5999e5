"""The side without Perdure: ``python agent.py``, and again from the beginning after the kill."""

from __future__ import annotations

import asyncio
import sys
import time

from perdure.demo.side import Attempt, Side


class PlainSide(Side):
    """Whoever supervises the process starts it again at once, as systemd or a container would."""

    title = "python agent.py"
    name = "plain"
    waiting = "Python imports LangGraph ..."
    again = "starting over ..."

    async def play(self) -> None:
        while True:
            child = await self.start(sys.executable, "agent.py", stdout=asyncio.subprocess.PIPE)
            nth = len(self.attempts) + 1
            name = "started over" if nth > 1 else "first start"
            self.attempts.append(Attempt(name, child.pid, len(self.meter.calls)))
            self.say(f"{name} (pid {child.pid})")
            report, _ = await child.communicate()
            if self.attempts[-1].killed:
                continue
            if child.returncode != 0:
                raise self.failed(f"ended with exit code {child.returncode}.")
            self.report = report.decode().strip()
            self.ended = time.monotonic()
            self.say("done")
            return

    async def kill(self) -> None:
        self.strike(self.children[-1].pid)

    @property
    def resumed_after(self) -> float | None:
        """Seconds from the kill until the agent is at that call again."""
        calls = self.calls_of(self.attempts[-1])
        if self.killed_at is None or len(calls) < self.scene.kill_at:
            return None
        return calls[self.scene.kill_at - 1].started - self.killed_at
