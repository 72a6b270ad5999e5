"""A keeper of shared documents that can forget all of them, as Redis does."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.core.shared import Document, Swap, Swapped


class Forgetful:
    """As Redis: it remembers until ``forget``."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.documents: dict[str, Document] = {}
        self.fresh = False

    async def swap(self, reads: Sequence[str], swaps: Sequence[Swap] = ()) -> Swapped:
        self.now += 0.001
        there = {key: self.documents.get(key, Document()) for key in reads}
        there |= {swap.key: self.documents.get(swap.key, Document()) for swap in swaps}
        done = all(there[swap.key].version == swap.version for swap in swaps)
        if done:
            for swap in swaps:
                version = swap.version + 1 if swap.version else int(self.now * 1e6)
                there[swap.key] = self.documents[swap.key] = Document(version, swap.body)
        return Swapped(self.now, done, there, self.fresh)

    async def listed(self, prefix: str, limit: int = 1000) -> Swapped:
        raise NotImplementedError

    def forget(self) -> None:
        self.documents.clear()
        self.fresh = True
        self.now += 2
