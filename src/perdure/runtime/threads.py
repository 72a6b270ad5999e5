"""Threads in which an attempt's blocking code runs: synchronous agents and the bodies of
synchronous steps.

Each gets a thread of its own and not one of a pool: bodies wait for the bodies inside them, and a
pool that is full of waiting ones would wait for ever. The threads are daemons, since nothing can
stop them when the process ends.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any


def begin(function: Callable[[], Any], *, name: str) -> asyncio.Future[Any]:
    """Run ``function`` in a thread, with the caller's context. The future has its end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def deliver(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
            future.exception()  # whoever turned away does not ask for it
        else:
            future.set_result(result)

    def work() -> None:
        result, error = None, None
        try:
            result = context.run(function)
        except BaseException as caught:
            # StopIteration cannot be set on a future.
            error = RuntimeError(str(caught)) if isinstance(caught, StopIteration) else caught
        try:
            loop.call_soon_threadsafe(deliver, result, error)
        except RuntimeError:
            pass  # the loop is closed: the process is ending

    threading.Thread(target=work, name=f"perdure-{name}", daemon=True).start()
    return future


async def in_thread(function: Callable[[], Any], *, name: str, left: Callable[[], bool]) -> Any:
    """Run blocking agent code in a thread of its own and wait for it.

    Cancelling the awaiting task does not end the wait: a thread cannot be cancelled, and a lease
    is given back only when it has ended (C3); unless ``left()``, when its worker gave it up.
    """
    future = begin(function, name=name)
    while True:
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if future.done():
                return future.result()
            if left():
                raise
