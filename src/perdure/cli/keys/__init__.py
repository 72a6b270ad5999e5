"""``perdure keys``."""

from __future__ import annotations

import click

from perdure.cli.lazy import Entry, LazyGroup

COMMANDS = {
    "create": Entry("perdure.cli.keys.create", "A new key; shown once."),
    "list": Entry("perdure.cli.keys.list", "The keys, without their secrets."),
    "revoke": Entry("perdure.cli.keys.revoke", "End a key's life."),
}


@click.group("keys", cls=LazyGroup, entries=COMMANDS)
def command() -> None:
    """API keys of the HTTP server.

    As soon as there is one, every route but the probes needs a key.
    """
