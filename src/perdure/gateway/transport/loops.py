"""One thing for each event loop, closed when its loop ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """``make`` is called on a loop that asks for the first time. Safe from any thread."""

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        self._lock = threading.Lock()
        self._held: dict[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[None, None]]] = {}

    def __iter__(self) -> Iterator[T]:
        return iter([thing for thing, _ in self._held.values()])

    async def get(self) -> T:
        """The running loop's own."""
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        if held is None:
            thing = self._make()
            with self._lock:
                for other in [one for one in self._held if one.is_closed()]:
                    del self._held[other]
                held = self._held[loop] = (thing, self._keep(loop, thing))
            await anext(held[1])
        return held[0]

    async def _keep(self, loop: asyncio.AbstractEventLoop, thing: T) -> AsyncGenerator[None, None]:
        """Suspended for as long as the loop lives: ``asyncio.run`` ends asynchronous generators
        last, which is the only notice of its end that a loop gives."""
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(loop, None)
            await self._close(thing)
