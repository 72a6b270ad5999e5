"""``perdure halt``."""

from __future__ import annotations

import click

from perdure.cli.lazy import Entry, LazyGroup

COMMANDS = {
    "agent": Entry("perdure.cli.halt.agent", "Stop an agent's model calls."),
    "tenant": Entry("perdure.cli.halt.tenant", "Stop the model calls for a tenant."),
    "list": Entry("perdure.cli.halt.list", "What is halted, by whom and why."),
    "lift": Entry("perdure.cli.halt.lift", "Let model calls go out again."),
}


@click.group("halt", cls=LazyGroup, entries=COMMANDS)
def command() -> None:
    """Stop an agent's or a tenant's model calls, everywhere.

    Every worker obeys within a second. Calls under way end; a run that makes a new one fails with
    the provider's own 403, and goes on from its journal when it is redriven after the halt is
    lifted.
    """
