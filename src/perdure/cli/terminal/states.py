"""Colours of a run's states and marks of an effect's."""

from __future__ import annotations

from perdure.core.record import Kind

# Effects that say nothing to people: the time, random numbers.
SILENT = frozenset({Kind.CLOCK, Kind.RANDOM})

STYLES = {
    "blocked": "yellow",
    "queued": "cyan",
    "running": "blue",
    "waiting": "yellow",
    "succeeded": "green",
    "failed": "red",
    "dead": "red",
    "cancelled": "magenta",
    "lost": "red",
}

# of an effect: (mark, style)
MARKS = {
    "done": ("✓", "green"),
    "failed": ("✗", "red"),
    "intent": ("…", "yellow"),
    "abandoned": ("–", "dim"),
    "void": ("↺", "dim"),
}
