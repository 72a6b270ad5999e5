"""A board of runs that moves: one line a run, with what it is doing now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from perdure.cli.terminal.growth import Node, Totals
from perdure.cli.terminal.output import stdout
from perdure.cli.terminal.progress import sums
from perdure.cli.terminal.states import STYLES
from perdure.cli.terminal.times import short
from perdure.cli.terminal.waits import explain
from perdure.core.run import RunState
from perdure.store.rows import Run

FRAMES = 4  # pictures a second
AROUND = 5  # lines of the board that are no run


@dataclass(frozen=True, slots=True)
class Row:
    """``took`` is None while it is not final; ``flying`` are effects under way."""

    run: Run
    since: datetime
    took: timedelta | None
    flying: Sequence[Node]
    totals: Totals


class Board:
    """Use it as a context; ``show`` rows as they are now."""

    def __init__(self, skew: timedelta, store: str) -> None:
        self._skew = skew
        self._store = store
        self._rows: Sequence[Row] = ()
        self._away = False
        self._console = stdout()
        self._live = Live(
            console=self._console,
            get_renderable=self._picture,
            refresh_per_second=FRAMES,
            screen=True,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, rows: Sequence[Row], away: bool) -> None:
        """From now on show these. ``away``: the store does not answer."""
        self._rows, self._away = rows, away

    def _picture(self) -> Group:
        now = datetime.now(UTC) + self._skew
        return picture(self._rows, now, self._store, self._away, self._console.height)


def picture(rows: Sequence[Row], now: datetime, store: str, away: bool, height: int) -> Group:
    """The board as it is at ``now``; the newest runs where not all fit."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.run.state] = counts.get(row.run.state, 0) + 1
    head = Text(" Runs", "bold")
    for state, count in counts.items():
        head.append(f"  {count} {state}", STYLES.get(state, ""))
    head.append(f"   {store}", "dim")
    foot = Text(" Ctrl-C: leave; the runs go on.", "dim")
    if away:
        foot = Text(" The store does not answer; trying again.", "yellow")
    if not rows:
        return Group(head, Text(), Text("  Nothing is running or waiting.", "dim"), Text(), foot)
    left = max(height - AROUND, 1)
    table = Table(box=None, pad_edge=True, header_style="dim", expand=True)
    table.add_column("RUN", no_wrap=True, max_width=36, overflow="ellipsis")
    table.add_column("AGENT", no_wrap=True, max_width=24)
    table.add_column("STATE", no_wrap=True)
    table.add_column("FOR", no_wrap=True, justify="right")
    table.add_column("NOW", no_wrap=True, ratio=1, overflow="ellipsis")
    for row in rows[-left:]:
        dim = "dim" if row.run.state.final else ""
        table.add_row(
            Text(row.run.id, "dim"),
            Text(row.run.agent, dim),
            Text(row.run.state, STYLES.get(row.run.state, "")),
            Text(short(now - row.since if row.took is None else row.took), "dim"),
            doing(row, now),
        )
    more = len(rows) - left
    hidden = [Text(f"  … and {more} older", "dim")] if more > 0 else []
    return Group(head, Text(), *hidden, table, foot)


def doing(row: Row, now: datetime) -> Text:
    """What a run is doing, waits for or came to."""
    text = Text()
    if row.run.state is RunState.WAITING and row.run.waits:
        first, *_ = explain(row.run.waits[0], row.run.id)
        text.append(first, "yellow")
    elif row.run.state in (RunState.FAILED, RunState.DEAD) and row.run.error:
        text.append(" ".join(str(row.run.error.get("message", "")).split()), "red")
    elif row.flying:
        node = row.flying[-1]
        text.append(f"{node.kind} ", "dim").append(node.name)
        if node.began is not None:
            text.append(f"  {short(now - node.began)}", "dim")
        if len(row.flying) > 1:
            text.append(f" and {len(row.flying) - 1} more", "dim")
    parts = sums(row.totals)
    if parts:
        text.append(("  " if text.plain else "") + "  ".join(parts), "dim")
    return text
