"""The moment when a request is about to be written: httpcore tells of it to an extension."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from perdure.gateway.line import drive

Departs = Callable[[], Coroutine[Any, Any, None]]
WRITES = ".send_request_headers.started"  # what httpcore says before it writes a request


def tracing(departs: Departs, others: Any) -> Callable[[str, Any], Coroutine[Any, Any, None]]:
    """A ``trace`` extension that awaits ``departs`` then, beside those of ``others``."""

    async def trace(name: str, info: Any) -> None:
        if name.endswith(WRITES):
            await departs()
        if others is not None:
            await others(name, info)

    return trace


def tracing_blocking(departs: Departs, others: Any) -> Callable[[str, Any], None]:
    """The same for synchronous clients."""

    def trace(name: str, info: Any) -> None:
        if name.endswith(WRITES):
            drive(departs())
        if others is not None:
            others(name, info)

    return trace
