"""What the demo shows while it runs: two panels side by side on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from perdure.demo.meter import Call
from perdure.demo.side import PROMISED_S, Attempt, Side, Story

REFRESH_HZ = 10
_STYLE = {"starting": "dim", "running": "cyan", "killed": "red", "done": "green"}


class Screen(Protocol):
    """Told of the sides once, then of every change."""

    def open(self, sides: tuple[Side, ...]) -> None: ...

    def changed(self) -> None: ...

    def say(self, side: str, words: str) -> None: ...

    def close(self) -> None: ...


class Lines:
    """One line for each thing that happens; for pipes and logs."""

    def __init__(self, console: Console, story: Story) -> None:
        self._console = console
        self._story = story
        self._sides: tuple[Side, ...] = ()
        self._told: dict[str, int] = {}

    def open(self, sides: tuple[Side, ...]) -> None:
        self._sides = sides

    def changed(self) -> None:
        """Says which calls came back since."""
        for side in self._sides:
            seen = self._told.get(side.name, 0)
            for call in side.meter.calls[seen:]:
                if call.finished is None:
                    break
                seen += 1
                self._told[side.name] = seen
                took = f"{call.finished - call.started:.2f} s"
                what = "answered too late" if call.cut else took
                self.say(side.name, f"call {call.n}: {call.step} ({what})")

    def say(self, side: str, words: str) -> None:
        self._console.print(
            f"{self._story.seconds:6.1f} s  {side:<8} {words}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    def close(self) -> None:
        self.changed()


class Panels:
    """Both sides, redrawn ten times a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._sides: tuple[Side, ...] = ()
        self._live: Live | None = None

    def open(self, sides: tuple[Side, ...]) -> None:
        self._sides = sides
        self._live = Live(
            self, console=self._console, refresh_per_second=REFRESH_HZ, transient=False,
            vertical_overflow="crop",
        )  # fmt: skip
        self._live.start()

    def changed(self) -> None:
        """The live display looks by itself."""

    def say(self, side: str, words: str) -> None:
        """The panels show it."""

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # A display as high as the window would scroll; three lines above and one below are text.
        height = max(10, min(28, options.size.height - 6))
        grid = Table.grid(expand=True, padding=(0, 1))
        for _ in self._sides:
            grid.add_column(ratio=1)
        grid.add_row(*(_panel(side, height) for side in self._sides))
        yield grid
        yield Text.assemble(
            "  ", ("●", "green"), " paid   ", ("○", "green"), " from the journal, not sent   ",
            ("✗", "bold red"), " killed -9   ", ("↻", "bold yellow"), " goes on", style="dim",
        )  # fmt: skip


def _panel(side: Side, height: int) -> Panel:
    lines: list[Text] = []
    for attempt in side.attempts:
        lines += [_who(side, attempt), _dots(side, attempt)]
    if side.state in ("starting", "killed"):
        lines.append(Text(side.waiting if side.state == "starting" else side.again, "dim"))
    while len(lines) < 5:
        lines.append(Text())
    room = height - len(lines) - 2
    lines += [_line(side, call) for call in side.meter.calls[-room:]]
    lines += [Text()] * (height - 2 - len(lines))
    return Panel(
        Group(*lines), title=f"[bold]{side.title}[/]", title_align="left", subtitle=_foot(side),
        subtitle_align="right", border_style=_STYLE[side.state], height=height, padding=(0, 1),
    )  # fmt: skip


def _who(side: Side, attempt: Attempt) -> Text:
    text = Text(attempt.name, no_wrap=True, overflow="ellipsis")
    if attempt.killed:
        text.append(f"  kill -9 {attempt.pid}", "bold red")
    elif (after := side.resumed_after) is not None:
        style = "bold green" if after <= PROMISED_S else "bold yellow"
        text.append(f"  there after {after:.2f} s", style)
    return text


def _dots(side: Side, attempt: Attempt) -> Text:
    """A dot a call: replayed, done, in flight, lost, still to come."""
    text = Text(" ", no_wrap=True)
    text.append("○" * attempt.replayed, "green")
    calls = side.calls_of(attempt)
    for call in calls:
        text.append(*_mark(side, call))
    if not attempt.killed:
        text.append("·" * (side.scene.calls - len(calls) - attempt.replayed), "dim")
    return text


def _mark(side: Side, call: Call) -> tuple[str, str]:
    if call.cut:
        return "✗", "bold red"
    if any(call.n == attempt.first + 1 for attempt in side.attempts[1:]):
        return "↻", "bold yellow"
    if call.finished is None:
        return "◐", "cyan"
    return "●", "green"


def _line(side: Side, call: Call) -> Text:
    mark, style = _mark(side, call)
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{call.n:3} ")
    text.append(f"{mark} ", style)
    seconds = (call.finished or time.monotonic()) - call.started
    took = "killed" if call.cut else f"{seconds:.1f} s"
    text.append(f"{took:>6}  ", "red" if call.cut else "dim")
    text.append(call.step)
    return text


def _foot(side: Side) -> str:
    sent = len(side.meter.calls)
    price = side.scene.provider.price
    words = f"calls sent: {sent}"
    if price is not None:
        cost = sum(price.of(c.input_tokens, c.output_tokens) for c in side.meter.calls)
        words += f"  ${cost:.4f}"
    return f"{words}  [bold]{side.state}[/]"
