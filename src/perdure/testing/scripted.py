"""A scripted model provider without a server: transports that answer in memory.

The same brains, faults, wire formats and ledger as ``perdure.testing.simulator``, under the
provider's SDK instead of behind a socket:

    provider = ScriptedProvider(script(["Hello."]))
    http = httpx2.AsyncClient(transport=provider.transport())
    client = AsyncOpenAI(http_client=http, api_key="any")

httpx2 and httpx have the same interface and unrelated classes, so the adapters are made once for
each library. A fault looks as it would over a socket: ``drop`` is the library's ReadError,
``break`` its RemoteProtocolError, and ``hang`` its ReadTimeout after the request's read timeout.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

import httpx2

from perdure.testing.simulator.answer import Delivery
from perdure.testing.simulator.brain import Brain, echo
from perdure.testing.simulator.faults import Fault
from perdure.testing.simulator.quota.limit import Quota
from perdure.testing.simulator.quota.prompt_cache import PromptCache
from perdure.testing.simulator.simulation import DEFAULT_ROWS, Exchange, Simulation
from perdure.testing.simulator.steering import Steering
from perdure.testing.simulator.steps import Cut, Held, Part, Sleep, Start, Step, steps
from perdure.testing.simulator.wire import Wire, wire_of

if TYPE_CHECKING:
    import httpx

__all__ = ["ScriptedProvider"]


class ScriptedProvider(Steering):
    """A provider in memory. All transports share one brain, fault plan and ledger.

    Hosts are not looked at, only paths: the SDKs' official base URLs work, and nothing leaves
    the process. A path that is no provider's is a 404.
    """

    def __init__(
        self,
        brain: Brain = echo,
        faults: Iterable[Fault] = (),
        *,
        rows: int = DEFAULT_ROWS,
        limits: Iterable[Quota] = (),
        cache: PromptCache | None = None,
    ) -> None:
        super().__init__(Simulation(brain, faults, rows=rows, limits=limits, cache=cache))

    def transport(self) -> httpx2.AsyncBaseTransport:
        """For ``httpx2.AsyncClient``."""
        made: httpx2.AsyncBaseTransport = _transports(httpx2)[0](self.simulation)
        return made

    def sync_transport(self) -> httpx2.BaseTransport:
        """For ``httpx2.Client``."""
        made: httpx2.BaseTransport = _transports(httpx2)[1](self.simulation)
        return made

    def httpx_transport(self) -> httpx.AsyncBaseTransport:
        """For ``httpx.AsyncClient``; needs httpx."""
        import httpx

        made: httpx.AsyncBaseTransport = _transports(httpx)[0](self.simulation)
        return made

    def httpx_sync_transport(self) -> httpx.BaseTransport:
        """For ``httpx.Client``; needs httpx."""
        import httpx

        made: httpx.BaseTransport = _transports(httpx)[1](self.simulation)
        return made


class _Flow:
    """One delivery being carried out, with the client's read timeout over each wait."""

    def __init__(
        self, simulation: Simulation, lib: Any, wire: Wire, request: Any, raw: bytes
    ) -> None:
        self._simulation = simulation
        self._lib = lib
        self._request = request
        self._timeout: float | None = (request.extensions.get("timeout") or {}).get("read")
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.exchange: Exchange = simulation.open(wire, request.url.path, headers, raw)
        self._delivery = Delivery()
        self._todo: Generator[Step, None, None] | None = None

    def plan(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._todo = steps(self._simulation, self.exchange, delivery)

    def __iter__(self) -> Iterator[Step]:
        assert self._todo is not None
        return self._todo

    def act(self, step: Step) -> bytes | None:
        """What a step that is no wait gives to the client."""
        match step:
            case Part(data, last):
                if last:
                    self._simulation.close(self.exchange, self._delivery.outcome)
                return data
            case Cut(reset):
                self._simulation.close(self.exchange, self._delivery.outcome)
                if reset:
                    raise self._lib.ReadError("Connection reset by peer", request=self._request)
                raise self._lib.RemoteProtocolError(
                    "peer closed connection without sending complete message body",
                    request=self._request,
                )
        return None

    async def wait(self, step: Held | Sleep) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                if isinstance(step, Held):
                    await asyncio.wrap_future(step.future)
                elif step.seconds is None:
                    await asyncio.get_running_loop().create_future()
                else:
                    await asyncio.sleep(step.seconds)
        except TimeoutError:
            raise self._late() from None

    def wait_sync(self, step: Held | Sleep) -> None:
        if isinstance(step, Held):
            try:
                step.future.result(self._timeout)
            except TimeoutError:
                raise self._late() from None
            return
        seconds, timeout = step.seconds, self._timeout
        if timeout is not None and (seconds is None or seconds > timeout):
            time.sleep(timeout)
            raise self._late()
        if seconds is None:
            threading.Event().wait()
        else:
            time.sleep(seconds)

    def _late(self) -> Exception:
        late: Exception = self._lib.ReadTimeout(
            "The read operation timed out", request=self._request
        )
        return late

    def response(self, body: Any) -> Any:
        headers = dict(self._delivery.headers)
        if self._delivery.length is not None:
            headers["content-length"] = str(self._delivery.length)
        return self._lib.Response(
            self._delivery.status, headers=headers, stream=body, request=self._request
        )

    def end(self) -> None:
        """The client is done with the answer, complete or not."""
        if self._todo is not None:
            self._todo.close()
        self._simulation.close(self.exchange, "aborted")


def _respond_now(simulation: Simulation, exchange: Exchange) -> Delivery:
    """The delivery, also of an async brain: on a thread, since this one may have a running loop."""
    delivery = simulation.respond(exchange)
    if not inspect.isawaitable(delivery):
        return delivery

    async def think() -> Delivery:
        return await delivery

    with ThreadPoolExecutor(1) as pool:
        thought: Future[Delivery] = pool.submit(asyncio.run, think())
        return thought.result()


@cache
def _transports(lib: Any) -> tuple[type, type]:
    """The async and the sync transport class of httpx2 or httpx."""

    class AsyncBody(lib.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, flow: _Flow) -> None:
            self._flow = flow

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for step in self._flow:
                if isinstance(step, Held | Sleep):
                    await self._flow.wait(step)
                elif (data := self._flow.act(step)) is not None:
                    yield data

        async def aclose(self) -> None:
            self._flow.end()

    class Body(lib.SyncByteStream):  # type: ignore[misc]
        def __init__(self, flow: _Flow) -> None:
            self._flow = flow

        def __iter__(self) -> Iterator[bytes]:
            for step in self._flow:
                if isinstance(step, Held | Sleep):
                    self._flow.wait_sync(step)
                elif (data := self._flow.act(step)) is not None:
                    yield data

        def close(self) -> None:
            self._flow.end()

    class AsyncTransport(lib.AsyncBaseTransport):  # type: ignore[misc]
        def __init__(self, simulation: Simulation) -> None:
            self._simulation = simulation

        async def handle_async_request(self, request: Any) -> Any:
            raw = await request.aread()
            wire = wire_of(request.url.path)
            if request.method != "POST" or wire is None:
                return lib.Response(404, request=request)
            flow = _Flow(self._simulation, lib, wire, request, raw)
            try:
                delivery = self._simulation.respond(flow.exchange)
                if inspect.isawaitable(delivery):
                    delivery = await delivery
                flow.plan(delivery)
                for step in flow:
                    if isinstance(step, Start):
                        return flow.response(AsyncBody(flow))
                    if isinstance(step, Held | Sleep):
                        await flow.wait(step)
                    else:
                        flow.act(step)
                raise RuntimeError("a delivery neither started nor ended")
            except BaseException:
                flow.end()
                raise

    class Transport(lib.BaseTransport):  # type: ignore[misc]
        def __init__(self, simulation: Simulation) -> None:
            self._simulation = simulation

        def handle_request(self, request: Any) -> Any:
            raw = request.read()
            wire = wire_of(request.url.path)
            if request.method != "POST" or wire is None:
                return lib.Response(404, request=request)
            flow = _Flow(self._simulation, lib, wire, request, raw)
            try:
                flow.plan(_respond_now(self._simulation, flow.exchange))
                for step in flow:
                    if isinstance(step, Start):
                        return flow.response(Body(flow))
                    if isinstance(step, Held | Sleep):
                        flow.wait_sync(step)
                    else:
                        flow.act(step)
                raise RuntimeError("a delivery neither started nor ended")
            except BaseException:
                flow.end()
                raise

    return AsyncTransport, Transport
