"""Runs as a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from perdure.cli.terminal import output
from perdure.cli.terminal.states import STYLES
from perdure.cli.terminal.times import age, short
from perdure.store.rows import Run


def print_runs(runs: Sequence[Run], now: datetime) -> None:
    """Newest first."""
    if not runs:
        output.note("No runs.")
        return
    rows = [
        (run.id, run.agent, run.state.value, age(run.created_at, now), took(run, now), about(run))
        for run in runs
    ]
    columns = ("RUN", "AGENT", "STATE", "AGE", "TOOK", "ABOUT")
    output.table(
        columns,
        rows,
        cell_styles={(i, 2): STYLES[run.state] for i, run in enumerate(runs)},
        shrink=5,
        optional=(4, 3),
    )


def took(run: Run, now: datetime) -> str:
    """From its start to its end, or to now."""
    if run.started_at is None:
        return ""
    return short((run.finished_at or now) - run.started_at)


def about(run: Run) -> str:
    """What it waits for, or why it ended, in a few words."""
    if run.state == "waiting" and run.waits:
        words = []
        for wait in run.waits:
            word = str(wait.get("reason"))
            if wait.get("name"):
                word += f" {wait['name']}"
            words.append(word)
        return "for " + ", ".join(words)
    if run.error and run.state.final:
        kind = str(run.error.get("type", "")).rpartition(":")[2].rpartition(".")[2]
        return f"{kind}: {run.error.get('message', '')}".partition("\n")[0]
    return f"attempt {run.attempts + 1}" if run.attempts and not run.state.final else ""
