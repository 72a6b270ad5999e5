"""Takes the fence away: a change of shared documents is made whatever was changed meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.core.shared import Swap, Swapped
from perdure.store.postgres.store import PostgresStore
from perdure.store.redis import RedisShared


def install() -> None:
    """In this process, for good."""
    for kind in (PostgresStore, RedisShared):
        _unfence(kind)


def _unfence(kind: Any) -> None:
    fenced = kind.swap

    async def swap(self: Any, reads: Sequence[str], swaps: Sequence[Swap] = ()) -> Swapped:
        swapped: Swapped = await fenced(self, reads, swaps)
        while not swapped.done:
            there = swapped.documents
            swaps = [one._replace(version=there[one.key].version) for one in swaps]
            swapped = await fenced(self, reads, swaps)
        return swapped

    kind.swap = swap
