"""A keeper of shared documents in memory, with its own clock, that can be away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from perdure.core.shared import Document, Swap, Swapped
from perdure.errors import StoreUnavailable


class Keeper:
    """``now``: its clock, which tests move. ``away``: how many calls fail from now on; ``lost``:
    how many carry out what they are asked and fail after it. ``meanwhile`` is called once, before
    the next swap, as if another worker came first."""

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self.now = 1000.0
        self.away = 0
        self.lost = 0
        self.calls: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        self.fresh = False
        self.meanwhile: Callable[[], None] | None = None
        self.hold: asyncio.Event | None = None
        self._called = asyncio.Condition()

    async def asked(self, count: int) -> None:
        """Until it was called so often."""
        async with self._called:
            await self._called.wait_for(lambda: len(self.calls) >= count)

    def put(self, key: str, body: bytes) -> None:
        """Another worker's change."""
        self.documents[key] = Document(self.documents.get(key, Document()).version + 1, body)

    def body(self, key: str) -> bytes:
        return self.documents.get(key, Document()).body

    async def swap(self, reads: Sequence[str], swaps: Sequence[Swap] = ()) -> Swapped:
        self.calls.append((tuple(reads), tuple(one.key for one in swaps)))
        async with self._called:
            self._called.notify_all()
        if self.hold is not None:
            await self.hold.wait()
        await asyncio.sleep(0)
        if self.away:
            self.away -= 1
            raise StoreUnavailable("away")
        if swaps and (act := self.meanwhile) is not None:
            self.meanwhile = None
            act()
        done = all(self.documents.get(s.key, Document()).version == s.version for s in swaps)
        if done:
            for one in swaps:
                self.documents[one.key] = Document(one.version + 1, one.body)
        if swaps and self.lost:
            self.lost -= 1
            raise StoreUnavailable("the answer was lost")
        keys = {*reads, *(one.key for one in swaps)}
        found = {key: self.documents.get(key, Document()) for key in keys}
        return Swapped(self.now, done, found, self.fresh)

    async def listed(self, prefix: str, limit: int = 1000) -> Swapped:
        keys = sorted(key for key in self.documents if key.startswith(prefix))[:limit]
        return Swapped(self.now, True, {key: self.documents[key] for key in keys})
