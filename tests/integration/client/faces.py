"""Both clients by one face: the blocking one in a thread, so that a test is written once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from perdure.client import AsyncClient, Client


class Blocking:
    """The blocking client, awaited."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self.client = Client(*args, **more)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)

        async def call(*args: Any, **more: Any) -> Any:
            return await asyncio.to_thread(method, *args, **more)

        def iterate(*args: Any, **more: Any) -> AsyncIterator[Any]:
            return _items(method(*args, **more))

        return iterate if name in ("events", "stream", "runs", "dead_letters") else call

    async def __aenter__(self) -> Blocking:
        return self

    async def __aexit__(self, *about: object) -> None:
        await asyncio.to_thread(self.client.close)


async def _items(iterator: Iterator[Any]) -> AsyncIterator[Any]:
    end = object()
    while (item := await asyncio.to_thread(next, iterator, end)) is not end:
        yield item


FACES: list[Any] = [AsyncClient, Blocking]
