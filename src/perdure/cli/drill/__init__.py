"""``perdure drill``."""

from __future__ import annotations

import click

from perdure.cli.lazy import Entry, LazyGroup

COMMANDS = {
    "failover": Entry("perdure.cli.drill.failover", "What the fallbacks of a route would do."),
    "status": Entry("perdure.cli.drill.status", "The drills that take real traffic now."),
    "stop": Entry("perdure.cli.drill.stop", "End a drill; all traffic goes its way again."),
}


@click.group("drill", cls=LazyGroup, entries=COMMANDS)
def command() -> None:
    """Try the worst before it happens: a route's fallbacks, with real calls."""
