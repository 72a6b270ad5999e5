"""One live model call: sent, tried again where that helps, and recorded before the SDK has it.

Written once for asynchronous and synchronous code (see ``gateway.line``). Until a stream's first
piece nothing of it has been handed out, not even the headers: one that breaks or reports an error
in its preamble is simply tried again. From then on a :class:`Relay` carries it.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from perdure import codec
from perdure.core.ports import Ticket
from perdure.core.retry import Severity
from perdure.gateway.answer import FINAL, Answer
from perdure.gateway.formats import Question
from perdure.gateway.line import Channel, Line
from perdure.gateway.outcome import Incoming, SendFailed
from perdure.gateway.outgoing import Outgoing
from perdure.gateway.refusal import unanswered
from perdure.gateway.relay import CUT_SHORT, Relay, Stream, answered
from perdure.gateway.retries import retry_after, severity, severity_in_stream
from perdure.gateway.trip import Call, Ended, Go, Next, Rest
from perdure.gateway.watch import Watch

if TYPE_CHECKING:
    from perdure.gateway.capture import Capture

T = TypeVar("T")
# Room may be old by the time it is told of, where its keeper is far away or an event loop is busy
# with many calls at once: then it is asked for again, but not for ever.
PUNCTUAL = 10


class Served(NamedTuple):
    """What the SDK gets. ``channel``: where the body comes from, when it is a live stream."""

    answer: Answer
    channel: Channel | None = None


class _Late(Exception):
    """The connection took so long that others go first."""


class _Failure(NamedTuple):
    answer: Answer
    severity: Severity
    headers: Mapping[str, str]
    retry_after: timedelta | None
    what: str
    reached: bool = True


class Exchange:
    """``serve`` it once. ``ticket`` is live and closed exactly once, whatever happens."""

    def __init__(
        self, capture: Capture, call: Call, asked: Question, ticket: Ticket, line: Line
    ) -> None:
        self._capture = capture
        self._wire = call.wire
        self._host = call.host
        self._asked = asked
        self._ticket = ticket
        self._line = line
        self._trip = capture.trip(call, asked, ticket, line.about)
        self._headers: Mapping[str, str] = {}  # of the last response
        self._sent = 0  # tries so far

    async def serve(self) -> Served:
        """The answer, recorded; or a stream that will be."""
        try:
            got = await self._perform()
        except Exception as error:
            # Not the network's failure but somebody's bug (a mock, a hook): theirs to see again.
            await self._tell(self._trip.leave())
            await self._line.wait(
                self._ticket.failed(codec.encode_failure(error), request=self._asked.parts)
            )
            raise
        except BaseException:
            self._ticket.abandoned()  # the agent itself gave up waiting (F3)
            self._trip.abandoned()
            raise
        if isinstance(got, Stream):
            return self._hand_over(got)
        await self._tell(self._trip.leave())
        if isinstance(got, _Failure):
            answer = replace(got.answer, headers=_final(got.answer.headers))
            await self._line.wait(self._ticket.failed(answer.encode(), request=self._asked.parts))
            return Served(answer)
        await self._line.wait(self._ticket.done(got.encode(), request=self._asked.parts))
        return Served(got)

    async def _perform(self) -> Answer | Stream | _Failure:
        """Tries until it is answered or there is no point in trying again."""
        while True:
            go = await self._leave_to_go()
            if isinstance(go, Answer):
                return go if go.status < 400 else _Failure(go, Severity.FATAL, {}, None, "")
            began = self._capture.clock()
            try:
                got = await self._try(self._outgoing(go), began)
            except _Late:
                await self._tell(self._trip.unsent())
                continue
            except SendFailed as failure:
                passing = Severity.FATAL if failure.kind == "local" else Severity.RETRYABLE
                answer = unanswered(self._wire, self._host, failure, self._sent)
                got = _Failure(answer, passing, {}, None, failure.error, reached=False)
            if isinstance(got, Stream):
                return got
            following = await self._over(got, began)
            if not isinstance(got, _Failure) or following.again_in is None:
                return got
            self._ticket.warning(
                "model_retry", f"{self._asked.name} at {self._host}: {following.detail}."
            )
            if following.again_in:
                await self._line.sleep(following.again_in)

    async def _leave_to_go(self) -> Go | Answer:
        """When the trip lets it go. What waits for long may park (C5)."""
        late = 0
        while True:
            go = await self._tell(self._trip.go())
            if isinstance(go, Rest):
                await self._line.wait(self._ticket.rest(go.until, go.detail, go.note))
            elif isinstance(go, Go) and late < PUNCTUAL and go.expired():
                late += 1
                await self._tell(self._trip.unsent())
            else:
                return go

    def _outgoing(self, go: Go) -> Outgoing | None:
        """What is sent; looked at once more where room is taken for a moment only."""
        renew = go.renew
        if renew is None:
            return go.outgoing

        async def depart() -> None:
            late = 0
            while late < PUNCTUAL and go.expired():
                late += 1
                if not await self._tell(renew()):
                    raise _Late

        return (go.outgoing or Outgoing())._replace(departs=depart)

    async def _try(self, outgoing: Outgoing | None, began: float) -> Answer | Stream | _Failure:
        self._sent += 1
        incoming = await self._line.send(outgoing)
        self._headers = incoming.headers
        try:
            # A whole JSON body may be the answer to who asked for a stream, too.
            in_pieces = self._asked.streamed and _content_type(incoming) != "application/json"
            if incoming.status < 400 and in_pieces:
                return await self._open(incoming, began)
            return await self._read(incoming)
        except BaseException:
            await incoming.close()
            raise

    async def _over(self, got: Answer | _Failure, began: float) -> Next:
        took = self._capture.clock() - began
        if isinstance(got, Answer):
            return await self._tell(self._trip.over(Ended(got, self._headers, None, took=took)))
        ended = Ended(
            got.answer, got.headers, got.severity, got.what, got.retry_after, got.reached, took=took
        )
        return await self._tell(self._trip.over(ended))

    async def _tell(self, what: Coroutine[Any, Any, T]) -> T:
        return await (what if self._trip.local else self._line.carry_out(what))

    async def _read(self, incoming: Incoming) -> Answer | _Failure:
        """A body that is read to its end before anyone sees it."""
        chunks = []
        while (chunk := await incoming.read()) is not None:
            chunks.append(chunk)
        await incoming.close()
        answer = answered(self._wire, self._asked, incoming, b"".join(chunks))
        if answer.status < 400:
            return answer
        return _Failure(
            answer,
            severity(answer.status, incoming.headers, answer.body),
            incoming.headers,
            retry_after(incoming.headers, answer.body, self._capture.now()),
            f"HTTP {answer.status}",
        )

    async def _open(self, incoming: Incoming, began: float) -> Stream | _Failure:
        """Reads a stream up to the first piece of the answer."""
        watch = Watch(self._wire.judge, _content_type(incoming))
        opening, words = [], ""
        while not (watch.begun or watch.final):
            chunk = await incoming.read()
            if chunk is None:
                if watch.complete:
                    break
                raise SendFailed("broken", "RemoteProtocolError", CUT_SHORT)
            opening.append(chunk)
            words += watch.feed(chunk)
        if watch.error is not None and not watch.begun:
            await incoming.close()
            body = b"".join(opening)
            return _Failure(
                answered(self._wire, self._asked, incoming, body),
                severity_in_stream(watch.error),
                incoming.headers,
                retry_after({}, body, self._capture.now()),
                f"error in the stream: {watch.error.get('type') or watch.error.get('code')}",
            )
        first = self._capture.clock() - began
        return Stream(incoming, watch, opening, words, began, first)

    def _hand_over(self, stream: Stream) -> Served:
        channel = self._line.channel()
        relay = Relay(self._capture, self._wire, self._asked, self._ticket, self._line, self._trip)
        self._line.pump(lambda: relay.run(stream, channel))
        return Served(answered(self._wire, self._asked, stream.incoming, b""), channel)


def _content_type(incoming: Incoming) -> str:
    return incoming.headers.get("content-type", "").partition(";")[0].strip().lower()


def _final(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return headers if FINAL in headers else (*headers, FINAL)
