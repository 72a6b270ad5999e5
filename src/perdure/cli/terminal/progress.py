"""A run's log as it grows, for people: a line for each effect when it ends, with how long it took;
what is under way is shown at the bottom of a terminal and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import orjson
from rich.status import Status
from rich.text import Text

from perdure.cli.terminal.output import stderr
from perdure.cli.terminal.states import MARKS
from perdure.cli.terminal.times import short_seconds
from perdure.cli.terminal.waits import explain_all
from perdure.codec import BLOB, RAW
from perdure.core.record import EntryState, Kind, RecordType
from perdure.store.rows import LogEvent

SILENT = frozenset({Kind.CLOCK, Kind.RANDOM})
# Reasons of a return to the queue that are worth a line; the others follow from a line before.
WHY_QUEUED = {
    "orphaned": "its worker is gone: it goes on from its journal",
    "redriven": "redriven",
    "resolved": "an operator answered",
}
WORDS = 200  # characters of an error
TAIL = 48  # characters of a model's answer that are shown while it comes


class Progress:
    """Use it as a context; ``show`` each event in order. ``target`` is how to name the agent in
    commands that go on with the run."""

    def __init__(self, run_id: str, *, target: str | None = None) -> None:
        self._run_id = run_id
        self._target = target
        self._console = stderr()
        self._flying: dict[bytes, tuple[str, str]] = {}
        self._depth: dict[bytes, int] = {}
        self._words = ""
        self._state = "running"
        self._status = Status(self._under_way(), console=self._console, spinner="dots")

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._status.stop()

    def say(self, text: str, style: str = "dim") -> None:
        """A line of ours."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def waits(self, waits: Iterable[Mapping[str, Any]]) -> None:
        """What the run waits for, and what ends that."""
        for first, line in explain_all(waits, self._run_id):
            self.say(("  ⏸ " if first else "    ") + line, "yellow" if first else "")

    def show(self, event: LogEvent) -> None:
        """Take note of an event, and print it if it is worth a line."""
        if event.type == RecordType.ENTRY:
            self._entry(event)
        elif event.type == RecordType.STARTED:
            self._takes_off(event)
        elif event.type == RecordType.DELTA:
            self._words = (self._words + _text(event.value))[-TAIL:].replace("\n", " ")
        elif event.type == RecordType.STATUS:
            self._stated(event)
        elif event.type == RecordType.WARNING:
            about = _object(event.value)
            self.say(f"  ! {about.get('message', event.name)}", "yellow")
        elif event.type == RecordType.SIGNAL:
            self.say(f"  ⇠ signal  {event.name}")
        elif event.type == RecordType.ATTEMPT:
            self._flying.clear()
        if self._console.is_terminal:
            self._status.update(self._under_way())

    # -- parts ------------------------------------------------------------------------------------

    def _takes_off(self, event: LogEvent) -> None:
        assert event.key is not None
        self._place(event)
        self._flying[event.key] = (event.kind or "", event.name or "")
        self._words = ""

    def _place(self, event: LogEvent) -> int:
        assert event.key is not None
        depth = self._depth.get(event.scope, -1) + 1 if event.scope else 0
        self._depth.setdefault(event.key, depth)
        return self._depth[event.key]

    def _entry(self, event: LogEvent) -> None:
        if event.kind in SILENT or event.key is None:
            return
        if event.state == EntryState.INTENT:
            self._takes_off(event)
            return
        self._flying.pop(event.key, None)
        if event.kind == Kind.EMIT:
            self.say(f"  · {event.name}  {_short(event.value)}")
            return
        if event.state == EntryState.VOID:
            return
        mark, style = MARKS.get(event.state or "", ("·", "dim"))
        text = Text("  " + "  " * self._place(event))
        text.append(mark, style=style).append(f" {event.kind or '':<6} ", style="dim")
        text.append(event.name or "")
        text.append(f"  {short_seconds((event.took_ms or 0) / 1000)}", style="dim")
        if event.state == EntryState.FAILED:
            text.append(f"  {_failure(event.value)}", style="red")
        self._console.print(text, soft_wrap=True)

    def _stated(self, event: LogEvent) -> None:
        self._state = event.name or ""
        about = _object(event.value)
        if self._state == "waiting":
            self.waits(about.get("waits", ()))
        elif self._state == "queued" and about.get("reason") in WHY_QUEUED:
            self.say(f"  ↻ {WHY_QUEUED[about['reason']]}")
        elif self._state == "cancelling":
            self.say("  ↻ asked to stop")

    def _under_way(self) -> Text:
        if self._state == "waiting":
            return Text("waiting", style="yellow")
        if not self._flying:
            return Text(self._state, style="dim")
        kind, name = next(reversed(self._flying.values()))
        text = Text(f"{kind} {name}")
        if len(self._flying) > 1:
            text.append(f" and {len(self._flying) - 1} more", style="dim")
        if self._words and kind == Kind.MODEL:
            text.append(f"  {self._words}", style="dim")
        return text


def _object(value: bytes | None) -> dict[str, Any]:
    if not value or value[:1] in (RAW, BLOB):
        return {}
    found = orjson.loads(value)
    return found if isinstance(found, dict) else {}


def _failure(value: bytes | None) -> str:
    """In a few words: an exception's message, or a provider's error answer."""
    about = _object(value)
    if "status" in about:
        text = f"{about['status']} {about.get('body', '')}"
    else:
        text = str(about.get("message", ""))
    text = " ".join(text.split())
    return text if len(text) <= WORDS else text[: WORDS - 1] + "…"


def _short(value: bytes | None, limit: int = 100) -> str:
    if value is None or value == b"null":
        return ""
    if value[:1] in (RAW, BLOB):
        return f"({len(value)} bytes)"
    text = value.decode("utf-8", "replace")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _text(value: bytes | None) -> str:
    items = orjson.loads(value) if value and value[:1] not in (RAW, BLOB) else []
    return "".join(item for item in items if isinstance(item, str))
