"""One run, for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.text import Text

from perdure.cli.terminal.output import stdout
from perdure.cli.terminal.runs import took
from perdure.cli.terminal.states import MARKS, STYLES
from perdure.cli.terminal.times import short, short_seconds, stamp
from perdure.cli.terminal.tree import Effect, tree
from perdure.cli.terminal.waits import explain_all
from perdure.codec import RAW
from perdure.core.run import RunState
from perdure.store.rows import Run

LONGEST = 400  # characters of an input or result


def print_run(run: Run, effects: Sequence[Effect], now: datetime) -> None:
    """State, times, waits, input and result, and the tree of effects."""
    console = stdout()
    _facts(console, run, now)
    if run.waits:
        console.print()
        for is_first, line in explain_all(run.waits, run.id):
            style = "yellow" if is_first else ""
            console.print(Text(("  ⏸ " if is_first else "    ") + line, style), soft_wrap=True)
    if run.state is RunState.DEAD or run.state is RunState.FAILED:
        console.print()
        _row(console, "Go on", f"perdure runs redrive {run.id}")
    if effects:
        console.print()
        _effects(console, effects)


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
        _row(console, "Failures", f"{run.attempts} of {run.max_attempts} attempts")
    if run.parent is not None:
        _row(console, "Parent", run.parent)
    if run.session is not None:
        _row(console, "Session", run.session)
    if run.labels:
        _row(console, "Labels", ", ".join(f"{k}={v}" for k, v in run.labels.items()))
    _row(console, "Input", _payload(run.input))
    if run.result is not None:
        _row(console, "Result", _payload(run.result))
    if run.error is not None and run.state is not RunState.SUCCEEDED:
        kind = str(run.error.get("type", "")).rpartition(":")[2]
        _row(console, "Error", Text(f"{kind}: {run.error.get('message', '')}", style="red"))
        if run.error.get("hint"):
            _row(console, "", str(run.error["hint"]))


def _effects(console: Console, effects: Sequence[Effect]) -> None:
    rows = list(tree(effects))
    widest = max((2 * depth + 7 + len(effect.name) for depth, effect in rows), default=0)
    room = max(console.width - 28, 30) if console.is_terminal else widest
    widest = min(widest, room)
    last = rows[0][1].attempt if rows else 0
    _head(console, widest)
    for depth, effect in rows:
        if effect.attempt > last:
            last = effect.attempt
            console.print(Text(f"  ── attempt {last}", style="dim"))
        mark, style = MARKS.get(effect.state, ("…", "yellow"))
        what = "  " * depth + f"{effect.kind:<6} {effect.name}"
        if len(what) > widest:
            what = what[: widest - 1] + "…"
        line = Text("  ").append(mark, style=style).append(f" {what.ljust(widest)}")
        began = "" if effect.started is None else f"+{short(effect.started)}"
        lasted = "" if effect.took_ms is None else short_seconds(effect.took_ms / 1000)
        line.append(f"  {began:>9}  {lasted:>8}", style="dim")
        if effect.state not in ("done", "failed"):
            line.append(f"  {effect.state}", style=style)
        console.print(line, soft_wrap=True)


def _head(console: Console, widest: int) -> None:
    console.print(
        Text(f"    {'EFFECT'.ljust(widest)}  {'BEGAN':>9}  {'TOOK':>8}", style="dim"),
        soft_wrap=True,
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
