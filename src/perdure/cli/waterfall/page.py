"""``perdure runs show`` for people: what the run is, what holds it and what to do about it, its
attempts, and its effects as bars over time. In a terminal nothing is wider than that; elsewhere
nothing is cut."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.text import Text

from perdure.cli.diagnosis.finding import Finding
from perdure.cli.terminal.output import stdout
from perdure.cli.terminal.runs import took
from perdure.cli.terminal.states import STYLES
from perdure.cli.terminal.times import short, short_seconds, stamp
from perdure.cli.waterfall.bars import Bars
from perdure.cli.waterfall.timeline import GONE, LOST, Attempt, Timeline
from perdure.codec import RAW
from perdure.core.run import RunState
from perdure.core.words import counted
from perdure.store.rows import Run

LONGEST = 400  # characters of an input or result
WARNINGS = 5  # of the last ones, that are shown


def print_page(
    run: Run,
    line: Timeline,
    findings: Sequence[Finding],
    now: datetime,
    cost: str = "",
    *,
    full: bool,
) -> None:
    """All of it, on stdout. ``cost``: in words. ``full``: also of the effects that say little to
    people."""
    console = stdout()
    _facts(console, run, now)
    if cost:
        _row(console, "Cost", cost)
    if findings:
        console.print()
        for finding in findings:
            for i, text in enumerate(finding.lines()):
                style = "yellow" if i == 0 else ""
                console.print(Text(("  ⏸ " if i == 0 else "    ") + text, style), soft_wrap=True)
    if len(line.attempts) > 1:
        console.print()
        _attempts(console, line)
    if line.warnings:
        console.print()
        for at, text in line.warnings[-WARNINGS:]:
            told = Text(f"  ! {text}", style="yellow").append(f"  +{short_seconds(at)}", "dim")
            console.print(told, soft_wrap=True)
    if line.effects:
        console.print()
        width = console.width if console.is_terminal else None
        for row in Bars(line, width, full=full).rows():
            console.print(row, soft_wrap=True)


def _facts(console: Console, run: Run, now: datetime) -> None:
    _row(console, "Run", run.id)
    _row(console, "Agent", run.agent)
    state = Text(run.state.value, style=STYLES[run.state])
    if run.cancel_requested and not run.state.final:
        state.append("  (asked to stop)", style="dim")
    _row(console, "State", state)
    when = Text(stamp(run.created_at))
    if run.started_at is not None:
        when.append(f"  took {took(run, now)}", style="dim")
    _row(console, "Created", when)
    if run.deadline_at is not None and not run.state.final:
        _row(console, "Deadline", f"{stamp(run.deadline_at)}  in {short(run.deadline_at - now)}")
    if run.worker is not None:
        _row(console, "Worker", run.worker)
    if run.attempts:
        _row(console, "Failures", f"{run.attempts} of {counted(run.max_attempts, 'attempt')}")
    if run.parent is not None:
        _row(console, "Parent", run.parent)
    if run.session is not None:
        _row(console, "Session", run.session)
    if run.labels:
        _row(console, "Labels", ", ".join(f"{k}={v}" for k, v in run.labels.items()))
    if run.trace:
        _row(console, "Trace", run.trace)
    _row(console, "Input", _payload(run.input))
    if run.result is not None:
        _row(console, "Result", _payload(run.result))
    if run.error is not None and run.state is not RunState.SUCCEEDED:
        kind = str(run.error.get("type", "")).rpartition(":")[2]
        _row(console, "Error", Text(f"{kind}: {run.error.get('message', '')}", style="red"))


def _attempts(console: Console, line: Timeline) -> None:
    """Every claim: when it began, how long it had the run, what the journal spared it."""
    rows = [_attempt(one, line.attempts[-1]) for one in line.attempts]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    console.print(Text("  ATTEMPTS", style="dim"))
    for row in rows:
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        text = Text(f"  {cells}  ").append(row[3], style=STYLES.get(row[4], ""))
        text.append(row[5], style="dim")
        text.rstrip()
        if console.is_terminal:
            text.truncate(console.width, overflow="ellipsis")
        console.print(text, soft_wrap=True)


def _attempt(one: Attempt, last: Attempt) -> tuple[str, str, str, str, str, str]:
    spared = f"{one.recorded} answered by the journal, " if one.recorded else ""
    words = {"waiting": "parked", "queued": "gave it back"}
    ending = one.ending or ("under way" if one is last else LOST)
    if one.why == GONE:
        ending = LOST  # nobody gave it back
    why = f": {one.why}" if one.why else ""
    return (
        f"{one.epoch}.",
        f"+{short_seconds(one.began)}",
        f"{short_seconds(one.ended - one.began)}, {spared}{one.added} new",
        words.get(ending, ending),
        ending,
        why,
    )


def _row(console: Console, name: str, value: str | Text) -> None:
    line = Text(f"{name:<9} ", style="dim" if console.is_terminal else "")
    text = Text(value) if isinstance(value, str) else value
    console.print(line.append_text(text), soft_wrap=True)


def _payload(data: bytes | None) -> str:
    if data is None:
        return ""
    if data[:1] == RAW:
        return f"({len(data) - 1} bytes)"
    text = data.decode("utf-8", "replace")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"
