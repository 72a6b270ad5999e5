"""Lines: how the neutral core reaches run and provider from asynchronous and synchronous code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from perdure.core.ports import About, Boundary, Ticket
from perdure.core.record import Kind
from perdure.gateway.capture import Capture
from perdure.gateway.formats import Question
from perdure.gateway.line import drive
from perdure.gateway.outcome import Incoming, SendFailed
from perdure.gateway.outgoing import Outgoing
from perdure.gateway.transport.body import AsyncChannel, SyncChannel
from perdure.gateway.transport.library import Library, failed, plain_headers

T = TypeVar("T")
DRAIN_S = 1.0  # for what a body has after its last event


class AsyncReach:
    """How asynchronous code reaches its run: all of a ``gateway.line.Line`` but what depends on the
    HTTP library."""

    def __init__(self, capture: Capture, boundary: Boundary) -> None:
        self._capture = capture
        self._boundary = boundary

    async def ask(self, question: Question) -> Ticket:
        """See ``gateway.line.Line``."""
        return await self._boundary.request(
            Kind.MODEL, question.name, question.digest, streamed=question.streamed
        )

    async def wait(self, what: Coroutine[Any, Any, T]) -> T:
        """See ``gateway.line.Line``."""
        return await what

    async def carry_out(self, what: Coroutine[Any, Any, T]) -> T:
        """See ``gateway.line.Line``."""
        done: T = await self._boundary.carry_out(what)
        return done

    @property
    def about(self) -> About:
        """See ``gateway.line.Line``."""
        return self._boundary.about

    async def sleep(self, seconds: float) -> None:
        """See ``gateway.line.Line``."""
        await self._capture.sleep(seconds)

    def pump(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """See ``gateway.line.Line``."""
        self._boundary.pump(body)

    async def drain(self, incoming: Incoming) -> None:
        """See ``gateway.line.Line``."""
        try:
            async with asyncio.timeout(DRAIN_S):
                while await incoming.read() is not None:
                    pass
        except (SendFailed, TimeoutError):
            pass  # the answer is complete; only the connection is lost


class AsyncLine(AsyncReach):
    """See ``gateway.line.Line``. ``send`` sends the request once through the library."""

    def __init__(
        self,
        library: Library,
        capture: Capture,
        boundary: Boundary,
        send: Callable[[Outgoing | None], Awaitable[Any]],
    ) -> None:
        super().__init__(capture, boundary)
        self._library = library
        self._send = send

    async def send(self, outgoing: Outgoing | None) -> Incoming:
        """See ``gateway.line.Line``."""
        try:
            return AsyncIncoming(self._library, await self._send(outgoing))
        except Exception as error:
            if (failure := failed(self._library, error)) is None:
                raise
            raise failure from error

    def channel(self) -> AsyncChannel:
        """See ``gateway.line.Line``."""
        return AsyncChannel()


class SyncReach:
    """The same for synchronous code; never suspends."""

    def __init__(self, capture: Capture, boundary: Boundary) -> None:
        self._capture = capture
        self._boundary = boundary

    async def ask(self, question: Question) -> Ticket:
        """See ``gateway.line.Line``."""
        return self._boundary.request_blocking(
            Kind.MODEL, question.name, question.digest, streamed=question.streamed
        )

    async def wait(self, what: Coroutine[Any, Any, T]) -> T:
        """See ``gateway.line.Line``."""
        done: T = self._boundary.wait_blocking(what)
        return done

    carry_out = wait

    @property
    def about(self) -> About:
        """See ``gateway.line.Line``."""
        return self._boundary.about

    async def sleep(self, seconds: float) -> None:
        """See ``gateway.line.Line``."""
        self._capture.sleep_blocking(seconds)

    def pump(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """See ``gateway.line.Line``."""
        self._boundary.pump_blocking(lambda: drive(body()))

    async def drain(self, incoming: Incoming) -> None:
        """See ``gateway.line.Line``. The client's read timeout bounds it."""
        try:
            while await incoming.read() is not None:
                pass
        except SendFailed:
            pass


class SyncLine(SyncReach):
    """See ``gateway.line.Line``; never suspends."""

    def __init__(
        self,
        library: Library,
        capture: Capture,
        boundary: Boundary,
        send: Callable[[Outgoing | None], Any],
    ) -> None:
        super().__init__(capture, boundary)
        self._library = library
        self._send = send

    async def send(self, outgoing: Outgoing | None) -> Incoming:
        """See ``gateway.line.Line``."""
        try:
            return SyncIncoming(self._library, self._send(outgoing))
        except Exception as error:
            if (failure := failed(self._library, error)) is None:
                raise
            raise failure from error

    def channel(self) -> SyncChannel:
        """See ``gateway.line.Line``."""
        return SyncChannel()


def _encoded(headers: Mapping[str, str]) -> bool:
    """Whether the body has to be decoded. Where it has not, the stream itself is read: what the
    libraries do to each piece costs more than the rest of capture."""
    return headers.get("content-encoding", "identity") != "identity"


class AsyncIncoming:
    """See ``outcome.Incoming``."""

    def __init__(self, library: Library, response: Any) -> None:
        self._library = library
        self._response = response
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = plain_headers(response.headers)
        encoded = _encoded(self.headers)
        self._pieces: Any = response.aiter_bytes() if encoded else aiter(response.stream)

    async def read(self) -> bytes | None:
        """See ``outcome.Incoming``."""
        try:
            return await anext(self._pieces, None)
        except Exception as error:
            if (failure := failed(self._library, error)) is None:
                raise
            raise failure from error

    async def close(self) -> None:
        """See ``outcome.Incoming``."""
        try:
            if (close := getattr(self._pieces, "aclose", None)) is not None:
                await close()
            await self._response.aclose()
        except Exception as error:
            if failed(self._library, error) is None:
                raise


class SyncIncoming:
    """See ``outcome.Incoming``; never suspends."""

    def __init__(self, library: Library, response: Any) -> None:
        self._library = library
        self._response = response
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = plain_headers(response.headers)
        encoded = _encoded(self.headers)
        self._pieces: Any = response.iter_bytes() if encoded else iter(response.stream)

    async def read(self) -> bytes | None:
        """See ``outcome.Incoming``."""
        try:
            return next(self._pieces, None)
        except Exception as error:
            if (failure := failed(self._library, error)) is None:
                raise
            raise failure from error

    async def close(self) -> None:
        """See ``outcome.Incoming``."""
        try:
            if (close := getattr(self._pieces, "close", None)) is not None:
                close()
            self._response.close()
        except Exception as error:
            if failed(self._library, error) is None:
                raise
