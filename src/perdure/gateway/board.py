"""Shared documents that are often read and seldom written: kill switches and circuit breakers.

They are read when a call needs them, and not again within ``AGE_S``: so what is written there is
known to every worker that calls anything within that time, and an idle worker asks for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from perdure.core.shared import Document, Shared, Swap, Swapped
from perdure.errors import StoreUnavailable

AGE_S = 0.8  # a switch stops calls within a second: this, and the way to the keeper
KEPT = 10_000  # documents; beyond that all are read anew
TRIES = 50


class Board:
    """Of one worker and one event loop."""

    def __init__(self, shared: Shared, clock: Callable[[], float] = time.monotonic) -> None:
        self._shared = shared
        self._clock = clock
        self._known: dict[str, tuple[float, Document]] = {}
        self._offset = 0.0

    def now(self) -> float:
        """The keeper's clock; after the first read, and never ahead of it."""
        return self._clock() + self._offset

    async def read(self, keys: Sequence[str], *, age: float = AGE_S) -> Mapping[str, Document]:
        """The documents, at most ``age`` seconds old. Raises StoreUnavailable."""
        since = self._clock() - age
        old = [key for key in keys if self._known.get(key, (-1e9, None))[0] < since]
        if old:
            self._learn(await self._shared.swap(old))
        return {key: self._known[key][1] for key in keys}

    def good_until(self, keys: Sequence[str]) -> float:
        """Until when, on our clock, what was read of them is not read again."""
        return min(self._known[key][0] for key in keys) + AGE_S

    async def change(self, key: str, decide: Callable[[bytes, float], bytes | None]) -> bytes:
        """Changes a document to what ``decide`` makes of it (body, keeper's clock); None: it stays
        as it is. Returns what is there then. Raises StoreUnavailable."""
        await self.read([key])
        for _ in range(TRIES):
            document = self._known[key][1]
            body = decide(document.body, self.now())
            if body is None or body == document.body:
                return document.body
            swapped = await self._shared.swap((), [Swap(key, document.version, body)])
            self._learn(swapped)
            if swapped.done:
                return body
        raise StoreUnavailable(f"The shared document {key} changes all the time.")

    def _learn(self, swapped: Swapped) -> None:
        read = self._clock()
        self._offset = swapped.now - read
        if len(self._known) > KEPT:
            self._known.clear()
        for key, document in swapped.documents.items():
            self._known[key] = (read, document)
