"""``perdure db``."""

from __future__ import annotations

import click

from perdure.cli.lazy import Entry, LazyGroup

COMMANDS = {
    "upgrade": Entry("perdure.cli.db.upgrade", "Bring the schema to this version's."),
    "check": Entry(
        "perdure.cli.db.check",
        "Look for what should not be: in the schema, in runs and their logs, in large values.",
    ),
    "stats": Entry(
        "perdure.cli.db.stats",
        "What takes how much space: tables, runs by agent and state, large values.",
    ),
    "prune": Entry(
        "perdure.cli.db.prune", "Delete old runs, old costs and what nothing refers to."
    ),
    "backup": Entry(
        "perdure.cli.db.backup",
        "Copy a SQLite store to FILE while it is in use, with a list of its large values.",
    ),
}


@click.group("db", cls=LazyGroup, entries=COMMANDS)
def command() -> None:
    """The database and the large values beside it."""
