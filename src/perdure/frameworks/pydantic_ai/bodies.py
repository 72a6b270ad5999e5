"""Synchronous tools in threads that their attempt knows of (rule C3): its lease is given back only
when they have ended, even if Pydantic AI has turned away from them (a timeout, a cancelled
sibling)."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from perdure.core.ports import current_boundary
from perdure.runtime.place import Place
from perdure.runtime.threads import begin


class BodyThreads(concurrent.futures.Executor):
    """For ``Agent.using_thread_executor`` around the body of one effect."""

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[Any]:
        """Called on the event loop, as ``loop.run_in_executor`` does."""
        inner = cast("Place", current_boundary.get())

        def body() -> Any:
            inner.mine()
            return fn(*args, **kwargs)

        done: concurrent.futures.Future[Any] = concurrent.futures.Future()
        done.set_running_or_notify_cancel()
        future = begin(body, name=f"{inner.run_id}-body")
        inner.attempt.bodies.count(future)
        future.add_done_callback(partial(_pass_on, done))
        return done


def _pass_on(done: concurrent.futures.Future[Any], future: asyncio.Future[Any]) -> None:
    if future.cancelled():
        done.set_exception(concurrent.futures.CancelledError())
    elif (error := future.exception()) is not None:
        done.set_exception(error)
    else:
        done.set_result(future.result())
