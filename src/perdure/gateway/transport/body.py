"""A response's body on its way to the SDK: from a live stream's pump, or from the journal."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator

from perdure.gateway.answer import Answer
from perdure.gateway.outcome import SendFailed

Item = bytes | BaseException | None


class AsyncChannel:
    """See ``gateway.line.Channel``. Pump and consumer are on one loop."""

    def __init__(self) -> None:
        self._items: asyncio.Queue[Item] = asyncio.Queue()
        self.left = False  # the consumer went away

    def put(self, item: Item) -> None:
        """Never waits."""
        if not self.left:
            self._items.put_nowait(item)

    async def get(self) -> Item:
        """The next one."""
        return await self._items.get()


class SyncChannel:
    """See ``gateway.line.Channel``. Pump and consumer are in two threads."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.left = False

    def put(self, item: Item) -> None:
        """Never waits."""
        if not self.left:
            self._items.put(item)

    def get(self) -> Item:
        """The next one."""
        return self._items.get()


class AsyncBody:
    """For an asynchronous consumer. ``raised`` makes the library's exception of a failure.

    It may be iterated again after breaking off, and goes on there: the OpenAI SDK drains so.
    """

    def __init__(
        self, source: AsyncChannel | Answer, raised: Callable[[SendFailed], Exception]
    ) -> None:
        self._source = source
        self._raised = raised
        self._over = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """What is left of the body."""
        if isinstance(self._source, Answer):
            if not self._over:
                self._over = True
                for piece in _recorded(self._source):
                    if isinstance(piece, SendFailed):
                        raise self._raised(piece)
                    yield piece
            return
        while not self._over:
            item = await self._source.get()
            if isinstance(item, bytes):
                yield item
                continue
            self._over = True
            if item is not None:
                raise self._raised(item) if isinstance(item, SendFailed) else item

    def leave(self) -> None:
        """The consumer reads no more; the pump goes on without it."""
        if isinstance(self._source, AsyncChannel):
            self._source.left = True


class SyncBody:
    """The same for a synchronous consumer."""

    def __init__(
        self, source: SyncChannel | Answer, raised: Callable[[SendFailed], Exception]
    ) -> None:
        self._source = source
        self._raised = raised
        self._over = False

    def pieces(self) -> Iterator[bytes]:
        """What is left of the body."""
        if isinstance(self._source, Answer):
            if not self._over:
                self._over = True
                for piece in _recorded(self._source):
                    if isinstance(piece, SendFailed):
                        raise self._raised(piece)
                    yield piece
            return
        while not self._over:
            item = self._source.get()
            if isinstance(item, bytes):
                yield item
                continue
            self._over = True
            if item is not None:
                raise self._raised(item) if isinstance(item, SendFailed) else item

    def leave(self) -> None:
        """The consumer reads no more; the pump goes on without it."""
        if isinstance(self._source, SyncChannel):
            self._source.left = True


def _recorded(answer: Answer) -> Iterator[bytes | SendFailed]:
    if answer.body:
        yield answer.body
    if answer.breach is not None:
        yield SendFailed("broken", answer.breach.error, answer.breach.message)
