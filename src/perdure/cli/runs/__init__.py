"""``perdure runs``."""

from __future__ import annotations

import click

from perdure.cli.lazy import Entry, LazyGroup

COMMANDS = {
    "list": Entry("perdure.cli.runs.list", "The newest runs, filtered."),
    "show": Entry(
        "perdure.cli.runs.show",
        "A run: what holds it, what to do about it, and its effects over time.",
    ),
    "watch": Entry("perdure.cli.runs.watch", "A run, or all that are not final, as they go."),
    "events": Entry("perdure.cli.runs.events", "A run's events as JSON lines."),
    "signal": Entry("perdure.cli.signal", "Send a signal to a run."),
    "cancel": Entry("perdure.cli.runs.cancel", "Stop runs, and the runs they started."),
    "resolve": Entry("perdure.cli.runs.resolve", "Answer an effect that nobody is certain about."),
    "redrive": Entry("perdure.cli.runs.redrive", "Let failed, dead or waiting runs go on."),
    "diff": Entry("perdure.cli.runs.diff", "Where two runs part."),
    "export": Entry("perdure.cli.runs.export", "Everything about a run, for perdure replay."),
}


@click.group("runs", cls=LazyGroup, entries=COMMANDS)
def command() -> None:
    """List, show, follow, answer and export runs."""
