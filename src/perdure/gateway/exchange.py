"""One live model call: sent, tried again where that helps, and recorded before the SDK has it.

Written once for asynchronous and synchronous code. It awaits only what its :class:`Line` offers;
a line for synchronous code never suspends, so that :func:`drive` runs the same coroutine to its
end on the spot.

Streams. Until the answer's first piece nothing has been handed out, not even the headers: a
stream that breaks or reports an error in its preamble is simply tried again. From then on the
stream is pumped to its end whatever its consumer does (rule C8). What tells the consumer that the
answer is complete (the last event, the end of the body) is handed out only after the record is
durable.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from perdure import codec
from perdure.core import crash
from perdure.core.ports import Ticket
from perdure.core.retry import Severity, decide
from perdure.gateway.answer import FINAL, Answer, Breach, kept
from perdure.gateway.formats import Format, Question
from perdure.gateway.outcome import Incoming, SendFailed
from perdure.gateway.refusal import unanswered
from perdure.gateway.retries import retry_after, severity, severity_in_stream
from perdure.gateway.watch import Watch

if TYPE_CHECKING:
    from perdure.gateway.capture import Capture

log = logging.getLogger("perdure.gateway")
T = TypeVar("T")
_CUT_SHORT = "the stream ended before its last event"
_ATTEMPT_OVER = SendFailed("broken", "ReadError", "the attempt of this run is over")


class Channel(Protocol):
    """From the pump to the consumer; unbounded, so that neither waits for the other."""

    def put(self, item: bytes | BaseException | None) -> None:
        """A piece, the error that ends the body, or None: the end."""


class Line(Protocol):
    """How one call reaches its run and its provider, from asynchronous or synchronous code."""

    async def ask(self, question: Question) -> Ticket:
        """The effect's ticket."""

    async def send(self) -> Incoming:
        """Sends the request. Raises SendFailed."""

    async def wait(self, what: Coroutine[Any, Any, None]) -> None:
        """Waits for a ticket's coroutine."""

    async def sleep(self, seconds: float) -> None:
        """Waits between two tries."""

    def channel(self) -> Channel:
        """For a stream."""

    def pump(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs ``body`` on the attempt's account, not the agent's."""

    async def drain(self, incoming: Incoming) -> None:
        """Reads what is left of a body after its last event, so that the connection can be used
        again; not for long."""


class Served(NamedTuple):
    """What the SDK gets. ``channel``: where the body comes from, when it is a live stream."""

    answer: Answer
    channel: Channel | None = None


class _Failure(NamedTuple):
    answer: Answer
    severity: Severity
    retry_after: timedelta | None
    what: str


class _Stream(NamedTuple):
    incoming: Incoming
    watch: Watch
    opening: list[bytes]
    words: str


def drive(what: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never suspends."""
    try:
        what.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    what.close()
    raise RuntimeError("a synchronous call was about to wait for an event loop")


class Exchange:
    """``serve`` it once. ``ticket`` is live and closed exactly once, whatever happens."""

    def __init__(
        self, capture: Capture, wire: Format, host: str, asked: Question, ticket: Ticket, line: Line
    ) -> None:
        self._capture = capture
        self._wire = wire
        self._host = host
        self._asked = asked
        self._ticket = ticket
        self._line = line

    async def serve(self) -> Served:
        """The answer, recorded; or a stream that will be."""
        try:
            got = await self._perform()
        except Exception as error:
            # Not the network's failure but somebody's bug (a mock, a hook): theirs to see again.
            await self._line.wait(
                self._ticket.failed(codec.encode_failure(error), request=self._asked.parts)
            )
            raise
        except BaseException:
            self._ticket.abandoned()  # the agent itself gave up waiting (F3)
            raise
        if isinstance(got, _Stream):
            return self._hand_over(got)
        if isinstance(got, _Failure):
            answer = replace(got.answer, headers=_final(got.answer.headers))
            await self._line.wait(self._ticket.failed(answer.encode(), request=self._asked.parts))
            return Served(answer)
        await self._line.wait(self._ticket.done(got.encode(), request=self._asked.parts))
        return Served(got)

    async def _perform(self) -> Answer | _Stream | _Failure:
        """Tries until it is answered or there is no point in trying again."""
        settings, clock = self._capture.retries, self._capture.clock
        began, failures = clock(), 0
        while True:
            try:
                got = await self._try()
            except SendFailed as failure:
                passing = Severity.FATAL if failure.kind == "local" else Severity.RETRYABLE
                answer = unanswered(self._wire, self._host, failure, failures + 1)
                got = _Failure(answer, passing, None, failure.error)
            if not isinstance(got, _Failure):
                return got
            failures += 1
            verdict = decide(
                settings.policy, failures, got.severity, self._capture.random(), got.retry_after
            )
            again = verdict.again_in
            if again is None or clock() - began + again.total_seconds() > (
                settings.total.total_seconds()
            ):
                return got
            self._ticket.warning(
                "model_retry",
                f"{self._asked.name} at {self._host}: {got.what}; try {failures + 1} of "
                f"{settings.policy.attempts} in {again.total_seconds():.1f} s.",
            )
            await self._line.sleep(again.total_seconds())

    async def _try(self) -> Answer | _Stream | _Failure:
        incoming = await self._line.send()
        try:
            # A whole JSON body may be the answer to who asked for a stream, too.
            in_pieces = self._asked.streamed and _content_type(incoming) != "application/json"
            if incoming.status < 400 and in_pieces:
                return await self._open(incoming)
            return await self._read(incoming)
        except BaseException:
            await incoming.close()
            raise

    async def _read(self, incoming: Incoming) -> Answer | _Failure:
        """A body that is read to its end before anyone sees it."""
        chunks = []
        while (chunk := await incoming.read()) is not None:
            chunks.append(chunk)
        await incoming.close()
        answer = self._answer(incoming, b"".join(chunks))
        if answer.status < 400:
            return answer
        return _Failure(
            answer,
            severity(answer.status, incoming.headers, answer.body),
            retry_after(incoming.headers, answer.body, self._capture.now()),
            f"HTTP {answer.status}",
        )

    async def _open(self, incoming: Incoming) -> _Stream | _Failure:
        """Reads a stream up to the first piece of the answer."""
        watch = Watch(self._wire.judge, _content_type(incoming))
        opening, words = [], ""
        while not (watch.begun or watch.final):
            chunk = await incoming.read()
            if chunk is None:
                if watch.complete:
                    break
                raise SendFailed("broken", "RemoteProtocolError", _CUT_SHORT)
            opening.append(chunk)
            words += watch.feed(chunk)
        if watch.error is not None and not watch.begun:
            await incoming.close()
            body = b"".join(opening)
            return _Failure(
                self._answer(incoming, body),
                severity_in_stream(watch.error),
                retry_after({}, body, self._capture.now()),
                f"error in the stream: {watch.error.get('type') or watch.error.get('code')}",
            )
        return _Stream(incoming, watch, opening, words)

    def _hand_over(self, stream: _Stream) -> Served:
        channel = self._line.channel()
        self._line.pump(lambda: self._pump(stream, channel))
        return Served(self._answer(stream.incoming, b""), channel)

    async def _pump(self, stream: _Stream, channel: Channel) -> None:
        """Carries the stream to its end, records it, then tells the consumer of the end."""
        incoming, watch = stream.incoming, stream.watch
        try:
            held, answer = await self._carry(stream, channel)
        except Exception as error:
            await self._close(self._ticket.failed, codec.encode_failure(error), channel)
            channel.put(error)
            await incoming.close()
            return
        except BaseException:
            self._ticket.abandoned()
            channel.put(_ATTEMPT_OVER)
            await incoming.close()
            raise
        breach = answer.breach
        broken = breach is not None or watch.error is not None
        close = self._ticket.failed if broken else self._ticket.done
        if await self._close(close, answer.encode(), channel):
            for chunk in held:
                channel.put(chunk)
            end = SendFailed("broken", breach.error, breach.message) if breach else None
            channel.put(end)
            if watch.final and breach is None:
                await self._line.drain(incoming)
        await incoming.close()

    async def _close(self, close: Callable[..., Any], value: bytes, channel: Channel) -> bool:
        """Closes the ticket; where that fails (the lease is lost, the attempt is cut) the consumer
        must not believe in a whole answer."""
        try:
            await self._line.wait(close(value, request=self._asked.parts))
        except Exception as error:
            log.debug("a stream could not be recorded", exc_info=True)
            channel.put(error)
            return False
        except BaseException:
            channel.put(_ATTEMPT_OVER)
            raise
        return True

    async def _carry(self, stream: _Stream, channel: Channel) -> tuple[list[bytes], Answer]:
        """Passes pieces on until the end; returns those held back, and the whole."""
        incoming, watch = stream.incoming, stream.watch
        body, held, breach = list(stream.opening), list(stream.opening), None
        self._tell(stream.words)
        while not watch.final:
            if not watch.complete or watch.opaque:
                # What may be the end is held until it is known whether more comes.
                for chunk in held:
                    channel.put(chunk)
                held.clear()
                crash.reach(crash.Point.MID_STREAM)
            try:
                piece = await incoming.read()
            except SendFailed as failure:
                breach = Breach(failure.error, failure.message)
                break
            if piece is None:
                if not watch.complete:
                    breach = Breach("RemoteProtocolError", _CUT_SHORT)
                break
            body.append(piece)
            held.append(piece)
            self._tell(watch.feed(piece))
        return held, self._answer(incoming, b"".join(body), breach)

    def _answer(self, incoming: Incoming, body: bytes, breach: Breach | None = None) -> Answer:
        streamed, wire = self._asked.streamed, self._wire.name
        return Answer(incoming.status, kept(incoming.headers), body, streamed, breach, wire)

    def _tell(self, words: str) -> None:
        if words:
            self._ticket.delta(codec.encode({"text": words}))


def _content_type(incoming: Incoming) -> str:
    return incoming.headers.get("content-type", "").partition(";")[0].strip().lower()


def _final(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return headers if FINAL in headers else (*headers, FINAL)
