"""``perdure db``."""

from __future__ import annotations

import click

from perdure.cli.lazy import Entry, LazyGroup

COMMANDS = {
    "upgrade": Entry("perdure.cli.db.upgrade", "Bring the schema to this version's."),
    "check": Entry("perdure.cli.db.check", "Whether the schema is this version's."),
}


@click.group("db", cls=LazyGroup, entries=COMMANDS)
def command() -> None:
    """The database's schema."""
