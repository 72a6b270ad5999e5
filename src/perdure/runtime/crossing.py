"""The way to an attempt's event loop for code that runs elsewhere: in a thread, or on an event loop
of its own (``run_sync`` of some SDKs).

Invariant: who asks from elsewhere gets an answer or ``Parked``, never neither: what is asked is
broken off when the agent is unwound, and an event loop that is closed has ended its attempts.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Coroutine
from typing import Any

from perdure.errors import BoundaryError, Parked


class Crossing:
    """Of one attempt."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asked: set[asyncio.Task[Any]] = set()

    def ask(self, what: Coroutine[Any, Any, Any]) -> Any:
        """Block until ``what`` has run on the loop. Raises Parked when the agent is unwound."""
        return self._send(self._interruptible(what), what).result()

    async def ask_async(self, what: Coroutine[Any, Any, Any]) -> Any:
        """The same on another event loop."""
        return await asyncio.wrap_future(self._send(self._interruptible(what), what))

    def carry_out(self, what: Coroutine[Any, Any, Any]) -> Any:
        """Block until ``what`` has run on the loop, whatever becomes of the agent: for outcomes,
        which are to be recorded."""
        return self._send(what).result()

    async def carry_out_async(self, what: Coroutine[Any, Any, Any]) -> Any:
        """The same on any event loop."""
        if asyncio.get_running_loop() is self._loop:
            return await what
        return await asyncio.wrap_future(self._send(what))

    def interrupt(self) -> None:
        """The agent is unwound: nothing that it asked from elsewhere is waited for any longer."""
        for task in self._asked:
            task.cancel()

    async def _interruptible(self, what: Coroutine[Any, Any, Any]) -> Any:
        task = asyncio.current_task()
        assert task is not None
        self._asked.add(task)
        try:
            return await what
        except asyncio.CancelledError:
            raise Parked("the attempt is over") from None
        finally:
            self._asked.discard(task)

    def _send(
        self, what: Coroutine[Any, Any, Any], inner: Coroutine[Any, Any, Any] | None = None
    ) -> concurrent.futures.Future[Any]:
        try:
            return asyncio.run_coroutine_threadsafe(what, self._loop)
        except RuntimeError:
            for coroutine in (what, inner):
                if coroutine is not None:
                    coroutine.close()
            raise Parked("the worker has ended") from None


def refuse_loop_thread(what: str) -> None:
    """Raises BoundaryError where blocking would block the event loop itself."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise BoundaryError(
        f"{what} is synchronous and was called on the event loop, where waiting for it would stop "
        "every run.",
        hint="Await its asynchronous form: `await fn.aio(...)` for a sync step or tool, the "
        "async client for a model call; or declare the agent with plain `def`.",
    )
