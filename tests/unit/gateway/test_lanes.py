"""Connections are used again, each by one call at a time."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import httpx2
import pytest

from perdure.gateway import httpx2_transport, httpx_transport
from perdure.gateway.transport.lanes import KEEPALIVE_S, BlockingLanes, Lanes

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Counting:
    """A server that counts connections, and answers when it may."""

    def __init__(self) -> None:
        self.connections = self.open = 0
        self.gone = asyncio.Semaphore(0)
        self.writers: list[asyncio.StreamWriter] = []
        self.asked = asyncio.Semaphore(0)
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.writers.append(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked.release()
                await self.may.wait()
                writer.write(ANSWER)
        except asyncio.IncompleteReadError:
            self.open -= 1
            self.gone.release()


@pytest.fixture
async def counting() -> Counting:
    return Counting()


@pytest.fixture
async def url(counting: Counting) -> AsyncIterator[str]:
    server = await asyncio.start_server(counting, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/x"
    for writer in counting.writers:
        writer.close()
        await writer.wait_closed()
    server.close()


@pytest.fixture
async def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=[httpx2_transport.library, httpx_transport.library], ids=["httpx2", "httpx"])
async def lanes(request: Any, clock: FakeClock) -> AsyncIterator[Lanes]:
    made = Lanes(request.param, {}, clock=clock)
    made.module = request.param.module  # type: ignore[attr-defined]
    yield made
    await made.close()


async def ask(lanes: Lanes, url: str) -> bytes:
    module: Any = lanes.module  # type: ignore[attr-defined]
    request = module.Request("GET", url)
    response = await lanes.send(request, module.AsyncHTTPTransport.handle_async_request)
    body = await response.aread()
    await response.aclose()
    return bytes(body)


async def test_one_after_the_other_share_one(lanes: Lanes, url: str, counting: Counting) -> None:
    for _ in range(5):
        assert await ask(lanes, url) == b"ok"
    assert counting.connections == 1


async def test_at_one_time_each_has_its_own(lanes: Lanes, url: str, counting: Counting) -> None:
    counting.may.clear()
    asking = [asyncio.create_task(ask(lanes, url)) for _ in range(10)]
    async with asyncio.timeout(10):
        for _ in asking:
            await counting.asked.acquire()
    counting.may.set()
    assert await asyncio.gather(*asking) == [b"ok"] * 10
    await asyncio.gather(*(ask(lanes, url) for _ in range(10)))
    assert counting.connections == 10


async def test_a_call_that_is_given_up_gives_its_lane_back(
    lanes: Lanes, url: str, counting: Counting
) -> None:
    counting.may.clear()
    asking = asyncio.create_task(ask(lanes, url))
    async with asyncio.timeout(10):
        await counting.asked.acquire()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    counting.may.set()
    assert await ask(lanes, url) == b"ok"
    assert counting.connections == 2  # the first one had an answer under way


async def test_nobody_there(lanes: Lanes) -> None:
    with pytest.raises((httpx2.ConnectError, httpx.ConnectError)):
        await ask(lanes, "http://127.0.0.1:9/")


async def test_what_a_burst_needed_is_closed_after_a_while(
    lanes: Lanes, url: str, counting: Counting, clock: FakeClock
) -> None:
    counting.may.clear()
    asking = [asyncio.create_task(ask(lanes, url)) for _ in range(10)]
    async with asyncio.timeout(10):
        for _ in asking:
            await counting.asked.acquire()
    counting.may.set()
    await asyncio.gather(*asking)
    assert counting.open == 10
    clock.now += KEEPALIVE_S * 0.9
    await ask(lanes, url)
    clock.now += KEEPALIVE_S * 0.2
    await ask(lanes, url)  # the one on top; the nine below have slept for too long
    async with asyncio.timeout(10):
        while counting.open > 1:
            await counting.gone.acquire()
    assert counting.connections == 10


def test_threads_share_them_too() -> None:
    answered: list[bytes] = []
    connections: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=answer, args=(connection,)).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                connection.sendall(ANSWER)

    def agent() -> None:
        for _ in range(5):
            request = httpx2.Request("GET", url)
            response = lanes.send(request, httpx2.HTTPTransport.handle_request)
            answered.append(response.read())
            response.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        serving = threading.Thread(target=serve)
        serving.start()
        lanes = BlockingLanes(httpx2_transport.library, {})
        agent()
        assert len(connections) == 1
        threads = [threading.Thread(target=agent) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lanes.close()
        listener.shutdown(socket.SHUT_RDWR)
        serving.join()
    assert answered == [b"ok"] * 25
    assert len(connections) <= 4
