"""A ``ClientResponse`` made from an answer: live from the pump's pieces, or from the journal.

aiohttp offers no way to make one, so it is started like a real one, on a connection that gives
out a parsed head and a body that somebody else feeds. What is private in that (``StreamReader``'s
waiting) is held by tests.
"""

from __future__ import annotations

import asyncio
import inspect
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.helpers import TimerNoop
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from perdure.gateway.answer import Answer
from perdure.gateway.exchange import Served
from perdure.gateway.outcome import SendFailed
from perdure.gateway.sessions.failure import exception

# Never reached: pump and consumer do not wait for each other.
_NO_LIMIT = 2**48


class _Protocol:
    """What a body and a response ask of the protocol that feeds them."""

    connected = True
    upgraded = False
    transport = None
    _reading_paused = False

    def __init__(self) -> None:
        self.message: tuple[Any, Any] | None = None

    async def read(self) -> tuple[Any, Any] | None:
        return self.message

    def pause_reading(self) -> None:
        pass

    def resume_reading(self, **_: Any) -> None:
        pass


class Body(StreamReader):
    """A response's content, and the ``gateway.line.Channel`` that it is fed through. What came
    before a failure can be read before the failure is raised, live as on replay."""

    __slots__ = ("_failure",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        protocol: Any = _Protocol()
        super().__init__(protocol, _NO_LIMIT, loop=loop)
        self._failure: BaseException | None = None

    def put(self, item: bytes | BaseException | None) -> None:
        """See ``gateway.line.Channel``."""
        if self.exception() is not None:
            return  # the consumer went away
        if item is None:
            self.feed_eof()
        elif isinstance(item, bytes):
            self.feed_data(item)
        else:
            self._fail(exception(item) if isinstance(item, SendFailed) else item)

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    async def _wait(self, func_name: str) -> None:
        # Called when there is nothing left to read.
        if self._failure is not None:
            raise self._failure
        await super()._wait(func_name)


class _Connection:
    def __init__(self, message: RawResponseMessage, body: Body) -> None:
        self.protocol = _Protocol()
        self.protocol.message = (message, body)
        self.transport = None

    def release(self) -> None:
        pass

    def close(self) -> None:
        pass

    def add_callback(self, callback: Any) -> None:
        pass


async def respond(
    session: aiohttp.ClientSession, method: str, url: URL, sent: CIMultiDict[str], served: Served
) -> aiohttp.ClientResponse:
    """The response to a request of ``session``; ``sent`` are the request's headers."""
    loop = asyncio.get_running_loop()
    answer = served.answer
    body = served.channel if isinstance(served.channel, Body) else _recorded(answer, loop)
    made: Any = session._response_class
    response: aiohttp.ClientResponse = made(
        method, url, writer=None, continue100=None, timer=TimerNoop(),
        request_info=aiohttp.RequestInfo(url, method, CIMultiDictProxy(sent), url),
        traces=[], loop=loop, session=session, **_LATER,
    )  # fmt: skip
    headers = CIMultiDictProxy(CIMultiDict(answer.headers))
    raw = tuple((name.encode(), value.encode()) for name, value in answer.headers)
    message = RawResponseMessage(
        aiohttp.HttpVersion11, answer.status, _reason(answer.status), headers, raw,
        should_close=False, compression=None, upgrade=False, chunked=False,
    )  # fmt: skip
    connection: Any = _Connection(message, body)
    return await response.start(connection)


def _recorded(answer: Answer, loop: asyncio.AbstractEventLoop) -> Body:
    body = Body(loop)
    if answer.body:
        body.put(answer.body)
    breach = answer.breach
    body.put(None if breach is None else SendFailed("broken", breach.error, breach.message))
    return body


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _later() -> dict[str, Any]:
    """Arguments that only newer versions of aiohttp demand."""
    parameters = inspect.signature(aiohttp.ClientResponse.__init__).parameters
    sent: Any = SimpleNamespace(output_size=0)
    return {"stream_writer": sent} if "stream_writer" in parameters else {}


_LATER = _later()
