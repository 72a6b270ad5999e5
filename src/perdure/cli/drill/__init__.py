"""``perdure drill``."""

from __future__ import annotations

import click

from perdure.cli.lazy import Entry, LazyGroup

COMMANDS = {
    "failover": Entry(
        "perdure.cli.drill.failover", "What the fallbacks of a route would do, before they have to."
    ),
    "status": Entry(
        "perdure.cli.drill.status",
        "The drills that take real traffic now, and what came of them so far.",
    ),
    "stop": Entry("perdure.cli.drill.stop", "End the drill of ROUTE, or all."),
}


@click.group("drill", cls=LazyGroup, entries=COMMANDS)
def command() -> None:
    """Try a route's fallbacks before they have to stand in."""
