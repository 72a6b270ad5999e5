"""A run's log as it grows, for people. On a terminal: branches of the tree that ended, and below
them, moving, what is under way with how long and with how many tokens. Elsewhere: a line for each
effect when it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import orjson
from rich.console import Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from perdure.cli.prices import price
from perdure.cli.terminal.amounts import dollars, tokens
from perdure.cli.terminal.growth import Growth, Node, Totals
from perdure.cli.terminal.output import moving, stderr
from perdure.cli.terminal.states import MARKS, STYLES
from perdure.cli.terminal.times import short, short_seconds
from perdure.cli.terminal.waits import explain_all
from perdure.codec import BLOB, RAW
from perdure.core.record import EntryState, Kind, RecordType
from perdure.core.run import FINAL
from perdure.core.words import counted
from perdure.store.rows import LogEvent

# Reasons of a return to the queue that are worth a line; the others follow from a line before.
WHY_QUEUED = {
    "orphaned": "its worker is gone: it goes on from its journal",
    "redriven": "redriven",
    "resolved": "an operator answered",
    "continued": "it goes on in its next generation",
}
WORDS = 200  # characters of an error
SECOND_LINE = 2  # lines that are left for the prompt under what moves
FRAMES = 8  # pictures a second


class Progress:
    """Use it as a context; ``show`` each event in order. ``target`` is how to name the agent in
    commands that go on with the run; ``skew`` is how far the store's clock is before ours."""

    def __init__(
        self, run_id: str, *, target: str | None = None, skew: timedelta = timedelta(0)
    ) -> None:
        self._run_id = run_id
        self._target = target
        self._skew = skew
        self._console = stderr()
        self._growth = Growth(price)
        self._began: datetime | None = None
        self._state = "running"
        self._lock = threading.Lock()  # the picture is made in a thread of rich's
        self._spinner = Spinner("dots")
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if moving(self._console):
            self._live = Live(
                console=self._console,
                get_renderable=self._picture,
                refresh_per_second=FRAMES,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str, style: str = "dim") -> None:
        """A line of ours."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def waits(self, waits: Iterable[Mapping[str, Any]]) -> None:
        """What the run waits for, and what ends that."""
        for first, line in explain_all(waits, self._run_id):
            self.say(("  ⏸ " if first else "    ") + line, "yellow" if first else "")

    def show(self, event: LogEvent) -> None:
        """Take note of an event, and print it if it is worth a line."""
        if self._began is None:
            self._began = event.at
        with self._lock:
            finished = self._growth.take(event)
            if event.type == RecordType.STATUS:
                self._state = event.name or ""
                if self._state in FINAL:
                    finished = self._growth.rest()
        if self._live is not None:
            for node in finished:
                self._print(node, 0)
        elif self._growth.ended is not None:
            depth, node = self._growth.ended
            self._console.print(line(node, depth), soft_wrap=True)
        if event.type == RecordType.STATUS:
            self._stated(event)
        elif event.kind == Kind.EMIT and event.type == RecordType.ENTRY:
            self.say(f"  · {event.name}  {_short(event.value)}")
        elif event.type == RecordType.WARNING:
            about = _object(event.value)
            self.say(f"  ! {about.get('message', event.name)}", "yellow")
        elif event.type == RecordType.SIGNAL:
            self.say(f"  ⇠ signal  {event.name}")

    # -- parts ------------------------------------------------------------------------------------

    def _print(self, node: Node, depth: int) -> None:
        if node.kind:
            self._console.print(line(node, depth), soft_wrap=True)
        for child in node.children:
            self._print(child, depth + (1 if node.kind else 0))

    def _stated(self, event: LogEvent) -> None:
        about = _object(event.value)
        if self._state == "waiting":
            self.waits(about.get("waits", ()))
        elif self._state == "queued" and about.get("reason") in WHY_QUEUED:
            self.say(f"  ↻ {WHY_QUEUED[about['reason']]}")
        elif self._state == "cancelling":
            self.say("  ↻ asked to stop")
        elif self._state in FINAL:
            took = "" if self._began is None else f" in {short(event.at - self._began)}"
            text = Text("  ").append(self._state, style=STYLES.get(self._state, ""))
            text.append(took + "".join(f"  {part}" for part in sums(self._growth.totals)), "dim")
            self._console.print(text, soft_wrap=True)

    def _picture(self) -> Group:
        now = datetime.now(UTC) + self._skew
        with self._lock:
            rows = list(self._rows(self._growth.open, 0, now))
            parts = sums(self._growth.totals)
        room = max(self._console.height - SECOND_LINE, 1)
        if len(rows) > room:
            rows = [Text(f"  … {len(rows) - room + 1} more", "dim"), *rows[-room + 1 :]]
        foot = Text("  ")
        if self._state == "waiting":
            foot.append("⏸ waiting", "yellow")
        else:
            foot.append_text(self._frame()).append(f" {self._state}", STYLES.get(self._state, ""))
        if self._began is not None:
            parts = [short(now - self._began), *parts]
        foot.append("".join(f"  {part}" for part in parts), "dim")
        return Group(*rows, foot)

    def _rows(self, nodes: list[Node], depth: int, now: datetime) -> Iterator[Text]:
        width = self._console.width
        for node in nodes:
            if node.flying:
                text = Text("  " + "  " * depth, no_wrap=True, overflow="ellipsis")
                text.append_text(self._frame())
                text.append(f" {node.kind or 'effect':<6} ", "dim").append(node.name)
                if node.began is not None and node.kind:
                    text.append(f"  {short(now - node.began)}", "dim")
                words = " ".join(node.words.split())
                room = width - text.cell_len - 3
                if words and room > 10:
                    text.append("  " + words[-room:], "dim italic")
            else:
                text = line(node, depth)
                text.no_wrap, text.overflow = True, "ellipsis"
            yield text
            yield from self._rows(node.children, depth + 1, now)

    def _frame(self) -> Text:
        frame = self._spinner.render(self._console.get_time())
        return Text(str(frame), "cyan")


def line(node: Node, depth: int) -> Text:
    """An effect that ended."""
    mark, style = MARKS.get(node.state, ("·", "dim"))
    text = Text("  " + "  " * depth)
    text.append(mark, style=style).append(f" {node.kind:<6} ", style="dim").append(node.name)
    facts = [] if node.took_ms is None else [short_seconds(node.took_ms / 1000)]
    if node.used is not None:
        facts.append(tokens(node.used))
    if node.cost is not None:
        facts.append(dollars(node.cost))
    text.append("".join(f"  {fact}" for fact in facts), style="dim")
    if node.state == EntryState.FAILED:
        text.append(f"  {_failure(node.value)}", style="red")
    return text


def sums(totals: Totals) -> list[str]:
    """What all model calls of a run came to; money only as far as prices are known."""
    if not totals.calls:
        return []
    parts = [counted(totals.calls, "model call")]
    if totals.used.input or totals.used.output:
        parts.append(tokens(totals.used))
    if totals.priced:
        parts.append(("≥ " if totals.unpriced else "") + dollars(totals.cost))
    return parts


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
