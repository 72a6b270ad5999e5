"""Finding workers whose lease ran out: frozen processes, hosts that were cut off or are gone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from perdure.store.sqlite.connection import Clock
from perdure.store.sqlite.membership import FileMembership, Places
from perdure.store.sqlite.verbs import upkeep
from perdure.store.sqlite.writer import Writer

FORGOTTEN = 3600 * 1_000_000  # microseconds after which a file without a row is litter


async def reap(
    writer: Writer,
    places: Places,
    clock: Clock,
    members: Sequence[dict[str, Any]],
    mine: Sequence[FileMembership],
) -> int:
    """Orphan the runs of late members; returns how many runs."""
    own = {membership.worker.id for membership in mine if membership.holds}
    # After this process itself stood still, everyone seems late, until they had time to beat.
    blind = any(membership.thawed for membership in mine)
    count = 0
    for member in members:
        worker = str(member["id"])
        seen = places.seen(worker)
        late = clock() - (member["joined_at"] if seen is None else seen) > member["lease"]
        if worker in own or not late:
            continue
        handle = await asyncio.to_thread(places.capture, worker)
        try:
            if handle is not None or not blind:
                count += await _release(writer, places, worker, gone=handle is not None)
        finally:
            if handle is not None:
                os.close(handle)
    await asyncio.to_thread(_sweep, places, clock, {str(member["id"]) for member in members})
    return count


async def _release(writer: Writer, places: Places, worker: str, *, gone: bool) -> int:
    count = await writer.write(lambda tx: upkeep.release(tx, worker, died=True, gone=gone))
    # A frozen worker that goes on finds its file gone, and joins again.
    places.remove(worker)
    return count


def _sweep(places: Places, clock: Clock, members: set[str]) -> None:
    """Remove files that belong to nobody: left by a machine that died while it cleaned up."""
    for name in places.names():
        seen = places.seen(name)
        if name in members or seen is None or clock() - seen < FORGOTTEN:
            continue
        handle = places.capture(name)
        if handle is not None:
            places.remove(name)
            os.close(handle)
