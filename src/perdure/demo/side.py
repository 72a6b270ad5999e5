"""One side of the demo as the screen and the final table see it: its attempts, its calls, and the
child processes that make them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from perdure.demo.meter import Call, Meter
from perdure.demo.provider import Provider
from perdure.errors import PerdureError

PROMISED_S = 0.5  # from the kill to the next step

# "2026-11-21 10:00:00,123 4711 read_document(x.md): 900 characters"
_TOOL = re.compile(r"^\S+ \S+ \d+ (\w+\(.*\)): ", re.MULTILINE)


class DemoFailed(PerdureError):
    """A part of the demo did not do what it should."""

    code, exit_code = "demo_failed", 1


@dataclass(slots=True)
class Attempt:
    """One process at work on the job. ``first`` is the index of its first call in the meter's
    list; ``replayed`` how many answers it found in the journal."""

    name: str
    pid: int
    first: int
    replayed: int = 0
    killed: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """What both sides are given: the agent's file, the documents, the provider, the call at which
    to kill, and the variables of the environment."""

    folder: Path
    documents: int
    provider: Provider
    kill_at: int
    environ: Mapping[str, str]

    @property
    def calls(self) -> int:
        """How many model calls the job takes: plan, a note a document, outline, report."""
        return self.documents + 3


@dataclass(slots=True)
class Progress:
    """A line about what happened: seconds since the start, which side, what."""

    at: float
    side: str
    words: str


class Side(ABC):
    """``say`` is told of what happens, ``changed`` when the screen is out of date."""

    title: str
    name: str
    waiting: str  # what it does before the first call
    again: str  # what it does after the kill

    def __init__(
        self, scene: Scene, say: Callable[[str, str], None], changed: Callable[[], None]
    ) -> None:
        self.scene = scene
        self.meter = Meter(scene.provider.upstream, self._holds, self._held, changed)
        self.attempts: list[Attempt] = []
        self.children: list[asyncio.subprocess.Process] = []
        self.killed_at: float | None = None
        self.started = time.monotonic()
        self.ended: float | None = None
        self.report = ""
        self.changed = changed
        self._say = say

    @abstractmethod
    async def play(self) -> None:
        """Do the job to its end, kill included."""

    @abstractmethod
    async def kill(self) -> None:
        """kill -9 the process that is in its fatal call."""

    @property
    @abstractmethod
    def resumed_after(self) -> float | None:
        """Seconds from the kill until the call it happened in is sent again; None: not yet."""

    def environment(self) -> dict[str, str]:
        """Of the child processes: the user's own without what would configure Perdure, or send
        the calls to this machine through a proxy."""
        kept = {
            name: value
            for name, value in self.scene.environ.items()
            if not name.startswith("PERDURE_") and not name.lower().endswith("_proxy")
        }
        return {
            **kept,
            **self.scene.provider.environment(self.meter.url),
            "DOCS": str(self.scene.folder / "documents"),
            "TOOL_LOG": str(self.tool_log),
            "PYTHONUNBUFFERED": "1",
        }

    @property
    def state(self) -> str:
        """``starting``, ``running``, ``killed`` (until somebody goes on) or ``done``."""
        if self.ended is not None:
            return "done"
        if self.attempts and self.calls_of(self.attempts[-1]):
            return "running"
        return "starting" if self.killed_at is None else "killed"

    @property
    def tool_log(self) -> Path:
        """Where the agent's tools log."""
        return self.scene.folder / f"{self.name}-tools.log"

    @property
    def output(self) -> Path:
        """What the child processes print."""
        return self.scene.folder / f"{self.name}-output.log"

    def tools(self) -> Counter[str]:
        """How often each tool call was completed."""
        text = self.tool_log.read_text("utf-8") if self.tool_log.exists() else ""
        return Counter(_TOOL.findall(text))

    def calls_of(self, attempt: Attempt) -> list[Call]:
        """The calls that an attempt sent."""
        later = [a.first for a in self.attempts if a.first > attempt.first]
        return self.meter.calls[attempt.first : min(later, default=None)]

    def say(self, words: str) -> None:
        """Something happened."""
        self._say(self.name, words)

    async def start(self, *command: str, **pipes: int) -> asyncio.subprocess.Process:
        """A child in a process group of its own: Ctrl-C is for this process, which ends them."""
        with self.output.open("ab") as output:
            child = await asyncio.create_subprocess_exec(
                *command, cwd=self.scene.folder, env=self.environment(), start_new_session=True,
                stdin=asyncio.subprocess.DEVNULL, stdout=pipes.get("stdout", output),
                stderr=output,
            )  # fmt: skip
        self.children.append(child)
        return child

    async def close(self) -> None:
        """End what still runs, by its pid."""
        for child in self.children:
            if child.returncode is None:
                child.kill()
            await child.wait()
        await self.meter.stop()

    def strike(self, pid: int) -> None:
        """kill -9, and note when."""
        attempt = self.attempts[-1]
        self.killed_at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        attempt.killed = True
        self.say(f"kill -9 {pid} ({attempt.name}) in call {self.scene.kill_at}")

    def failed(self, what: str) -> DemoFailed:
        """The error for a child that did not do its part, with its last words."""
        lines = self.output.read_text("utf-8", errors="replace").splitlines()
        tail = "\n".join(lines[-12:])
        return DemoFailed(f"{self.title}: {what}\n{tail}", hint=f"All of it: {self.output}")

    def _holds(self, call: Call) -> bool:
        return call.n == self.scene.kill_at

    async def _held(self, call: Call) -> None:
        call.cut = True
        await self.kill()
        self.changed()


@dataclass(slots=True)
class Story:
    """Everything that happened, in order."""

    started: float = field(default_factory=time.monotonic)
    lines: list[Progress] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started
