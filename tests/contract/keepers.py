"""Who keeps shared documents: every store, and Redis. Run as a process it increments counters.

python -m tests.contract.keepers ADDRESS KEY,KEY TIMES
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from perdure.core.shared import Shared, Swap, Swapped
from perdure.store import make_store


class Keeper(Shared, Protocol):
    """What a test does with it besides."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    def shift_clock(self, by: timedelta) -> None: ...


@dataclass(frozen=True)
class Place:
    """Where documents are: a store's URL, or Redis's and a prefix after a #."""

    address: str

    @property
    def kind(self) -> str:
        return self.address.partition(":")[0]

    def make(self) -> Keeper:
        if self.kind == "redis":
            from perdure.store.redis import RedisShared

            url, _, prefix = self.address.partition("#")
            return RedisShared(url, prefix=prefix)
        return make_store(self.address)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Keeper]:
        keeper = self.make()
        await keeper.open()
        try:
            yield keeper
        finally:
            await keeper.close()


async def increment(keeper: Shared, keys: Sequence[str], times: int) -> int:
    """Add one to all of the counters, that often; returns how often that was refused."""
    refused = 0
    for _ in range(times):
        keys = random.sample(keys, len(keys))
        answer = await keeper.swap(keys)
        while not (answer := await keeper.swap([], raised(answer, keys))).done:
            refused += 1
    return refused


def raised(answer: Swapped, keys: Sequence[str]) -> list[Swap]:
    """One more in each of them."""
    found = [(key, *answer.documents[key]) for key in keys]
    return [Swap(key, version, b"%d" % (int(body or b"0") + 1)) for key, version, body in found]


async def main(address: str, keys: str, times: str) -> None:
    async with Place(address).opened() as keeper:
        print(await increment(keeper, keys.split(","), int(times)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
