"""A request is written in one go.

The libraries give way to everything else that is ready before each part of a request that they
write (anyio's checkpoints). On a busy event loop that is a tenth of a second and more after it was
found that there is room for the call just now; under a limit of a second it came too late.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from functools import partial
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")
# Turns in a row that are not given: anyio also spins until the loop has delivered a cancellation.
MOST = 16


@coroutine
def straight(what: Awaitable[T]) -> Generator[Any, Any, T]:
    """``what``, which goes on at once where it would only let others go first. What it really waits
    for it waits for. Only for what is short between two such waits."""
    steps = what.__await__()
    step: Callable[[], Any] = partial(next, steps)
    skipped = 0
    while True:
        try:
            wanted = step()
        except StopIteration as stop:
            result: T = stop.value
            return result
        if wanted is None and skipped < MOST:  # a turn of the loop, and nothing else
            step = partial(next, steps)
            skipped += 1
            continue
        skipped = 0
        try:
            got = yield wanted
        except GeneratorExit:
            steps.close()
            raise
        except BaseException as error:
            step = partial(steps.throw, error)
        else:
            step = partial(steps.send, got)
