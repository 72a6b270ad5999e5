"""A stream on its way to its consumer.

It is carried to its end whatever its consumer does (rule C8). What tells the consumer that the
answer is complete (the last event, the end of the body) is handed out only after the record is
durable. One that breaks past its first piece is, where its trip says so, asked for again by the
run's next attempt, which makes the text so far void (E1); else the consumer sees it broken.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from perdure import codec
from perdure.core import crash
from perdure.core.ports import Ticket
from perdure.core.retry import Severity
from perdure.gateway.answer import Answer, Breach, kept
from perdure.gateway.formats import Format, Question
from perdure.gateway.hidden import without_usage
from perdure.gateway.line import Channel, Line
from perdure.gateway.outcome import Incoming, SendFailed
from perdure.gateway.trip import Ended, Trip
from perdure.gateway.watch import Watch

if TYPE_CHECKING:
    from perdure.gateway.capture import Capture

log = logging.getLogger("perdure.gateway")
T = TypeVar("T")
CUT_SHORT = "the stream ended before its last event"
_ATTEMPT_OVER = SendFailed("broken", "ReadError", "the attempt of this run is over")


class Stream(NamedTuple):
    """One whose first piece is there. ``began`` is when it was asked for (the capture's clock),
    ``first`` how many seconds its first piece took."""

    incoming: Incoming
    watch: Watch
    opening: list[bytes]
    words: str
    began: float
    first: float


def answered(
    wire: Format,
    asked: Question,
    incoming: Incoming,
    body: bytes,
    breach: Breach | None = None,
    usage: Mapping[str, Any] | None = None,
) -> Answer:
    """What came, as a value."""
    headers = kept(incoming.headers)
    return Answer(incoming.status, headers, body, asked.streamed, breach, wire.name, usage)


class Relay:
    """Of one call's stream."""

    def __init__(
        self,
        capture: Capture,
        wire: Format,
        asked: Question,
        ticket: Ticket,
        line: Line,
        trip: Trip,
    ) -> None:
        self._capture = capture
        self._wire = wire
        self._asked = asked
        self._ticket = ticket
        self._line = line
        self._trip = trip

    async def run(self, stream: Stream, channel: Channel) -> None:
        """Carries the stream to its end, records it, then tells the consumer of the end."""
        incoming, watch = stream.incoming, stream.watch
        try:
            given, held, breach = await self._carry(stream, channel)
            broken = breach is not None or watch.error is not None
            usage = None
            if self._trip.hides_usage:
                held, usage = without_usage(held)
            answer = answered(
                self._wire, self._asked, incoming, b"".join((*given, *held)), breach, usage
            )
            await self._over(stream, answer, broken)
            if broken and (note := self._trip.note()) is not None:
                await self._line.wait(self._ticket.again(note))
                channel.put(_ATTEMPT_OVER)
                await incoming.close()
                return
        except Exception as error:
            await self._close(self._ticket.failed, codec.encode_failure(error), channel)
            channel.put(error)
            self._trip.abandoned()
            await incoming.close()
            return
        except BaseException:
            self._ticket.abandoned()
            self._trip.abandoned()
            channel.put(_ATTEMPT_OVER)
            await incoming.close()
            raise
        close = self._ticket.failed if broken else self._ticket.done
        if await self._close(close, answer.encode(), channel):
            for chunk in held:
                channel.put(chunk)
            end = SendFailed("broken", breach.error, breach.message) if breach else None
            channel.put(end)
            if watch.final and breach is None:
                await self._line.drain(incoming)
        await incoming.close()

    async def _over(self, stream: Stream, answer: Answer, broken: bool) -> None:
        """Tells the trip how it ended."""
        await self._tell(
            self._trip.over(
                Ended(
                    answer,
                    stream.incoming.headers,
                    Severity.RETRYABLE if broken else None,
                    "the stream broke" if broken else "",
                    void=broken,
                    first=stream.first,
                    took=self._capture.clock() - stream.began,
                )
            )
        )
        await self._tell(self._trip.leave())

    async def _tell(self, what: Coroutine[Any, Any, T]) -> T:
        return await (what if self._trip.local else self._line.carry_out(what))

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

    async def _carry(
        self, stream: Stream, channel: Channel
    ) -> tuple[list[bytes], list[bytes], Breach | None]:
        """Passes pieces on until the end; returns those, the ones held back, and how it broke."""
        incoming, watch = stream.incoming, stream.watch
        given: list[bytes] = []
        held, breach = list(stream.opening), None
        self._say(stream.words)
        while not watch.final:
            if not watch.complete or watch.opaque:
                # What may be the end is held until it is known whether more comes.
                for chunk in held:
                    channel.put(chunk)
                given += held
                held.clear()
                crash.reach(crash.Point.MID_STREAM)
            try:
                piece = await incoming.read()
            except SendFailed as failure:
                breach = Breach(failure.error, failure.message)
                break
            if piece is None:
                if not watch.complete:
                    breach = Breach("RemoteProtocolError", CUT_SHORT)
                break
            held.append(piece)
            self._say(watch.feed(piece))
        return given, held, breach

    def _say(self, words: str) -> None:
        if words:
            self._ticket.delta(codec.encode({"text": words}))
            self._trip.produced(words)
