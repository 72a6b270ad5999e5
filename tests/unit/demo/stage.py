"""Both sides of a demo that went as it should, without any process; tests then break something."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from perdure.demo.durable import DurableSide
from perdure.demo.figures import Figures, measure
from perdure.demo.meter import Call
from perdure.demo.plain import PlainSide
from perdure.demo.provider import DEFAULT_MODEL, Provider
from perdure.demo.side import Attempt, Scene, Side
from perdure.store.rows import LogEvent

QUESTIONS = ["plan", "a.md", "outline", "report"]


def digest(step: str) -> str:
    return step.encode().hex()


class Stage:
    """Both sides of a job of four calls that is killed in the second, all as it should be."""

    def __init__(self, folder: Path) -> None:
        provider = Provider("simulated", "http://127.0.0.1:1", DEFAULT_MODEL, "")
        scene = Scene(folder, 1, provider, 2, {})
        self.plain = PlainSide(scene, self._heard, self._changed)
        self.durable = DurableSide(scene, self._heard, self._changed)
        for side, again in ((self.plain, QUESTIONS), (self.durable, QUESTIONS[1:])):
            self.send(side, "plan", 0.0)
            self.send(side, "a.md", 1.0, cut=True)
            side.attempts = [Attempt("first", 1, 0, killed=True), Attempt("second", 2, 2)]
            side.killed_at = 1.0
            for at, step in enumerate(again):
                self.send(side, step, 1.25 + at)
            side.report, side.started, side.ended = "The report.", 0.0, 9.0
        for step in QUESTIONS:
            self.journal(step)
        self.log(self.plain, "read_document(a.md)", "read_document(a.md)")
        self.log(self.durable, "list_documents()", "read_document(a.md)")

    def send(self, side: Side, step: str, at: float, *, cut: bool = False) -> None:
        n = len(side.meter.calls) + 1
        side.meter.calls.append(Call(n, step, digest(step), at, at + 0.2, 200, 100, 10, cut))

    def journal(self, step: str) -> None:
        key, shape = step.encode(), bytes.fromhex(digest(step))
        at, seq = datetime.now(UTC), len(self.durable.log) + 1
        self.durable.log.append(
            LogEvent(seq, at, 1, "entry", key, None, "", None, "model", "m", shape, 0, None, "done",
                     1, None, None)
        )  # fmt: skip

    def log(self, side: Side, *tools: str) -> None:
        lines = [f"2026-11-21 10:00:00,000 7 {tool}: fine\n" for tool in tools]
        side.tool_log.write_text("".join(lines), "utf-8")

    def measure(self) -> Figures:
        return measure(self.plain, self.durable)

    def _heard(self, side: str, words: str) -> None: ...

    def _changed(self) -> None: ...
