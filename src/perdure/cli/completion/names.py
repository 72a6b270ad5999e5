"""Names that a shell completes: runs and agents of the store, as the command line so far has it.

A shell waits for these while someone types, so they are few and quick, and whatever goes wrong
means that there is nothing to offer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
from click.shell_completion import CompletionItem

from perdure.cli import options
from perdure.errors import PerdureError
from perdure.store.base import Store

T = TypeVar("T")
PATIENCE = 1.0  # seconds
MOST = 60  # runs that are offered


def runs(ctx: click.Context, beginning: str) -> list[CompletionItem]:
    """Ids of runs, newest first, with what they are."""

    async def read(store: Store) -> list[CompletionItem]:
        from perdure.cli.terminal.times import age
        from perdure.store.rows import Filter

        now = await store.now()
        return [
            CompletionItem(run.id, help=f"{run.agent} {run.state} {age(run.created_at, now)} ago")
            for run in await store.find(Filter(limit=MOST))
            if run.id.startswith(beginning)
        ]

    return _read(ctx, read, [])


def agents(ctx: click.Context, beginning: str) -> list[CompletionItem]:
    """Names of agents that workers of the store announced."""

    async def read(store: Store) -> list[CompletionItem]:
        return [
            CompletionItem(info.name, help=info.description.partition("\n")[0])
            for info in await store.agents()
            if info.name.startswith(beginning)
        ]

    return _read(ctx, read, [])


def _read(ctx: click.Context, read: Callable[[Store], Awaitable[T]], nothing: T) -> T:
    from perdure.cli import process

    async def main() -> T:
        config = options.load(ctx.params.get("config_file"), ctx.params.get("store"))
        async with asyncio.timeout(PATIENCE), process.open_store(config) as store:
            return await read(store)

    try:
        return asyncio.run(main())
    except (PerdureError, OSError, TimeoutError):
        return nothing
