"""Connections are used again, each by one call at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from perdure.server.proxy.lanes import Lanes

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Counting:
    """A server that counts connections, and answers when it may."""

    def __init__(self) -> None:
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.asked = asyncio.Semaphore(0)
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked.release()
                await self.may.wait()
                writer.write(ANSWER)
        except asyncio.IncompleteReadError:
            pass


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
async def lanes() -> AsyncIterator[Lanes]:
    made = Lanes()
    yield made
    await made.close()


async def ask(lanes: Lanes, url: str) -> bytes:
    response = await lanes.send("GET", url, b"a=b", {}, b"", 10.0)
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
    with pytest.raises(httpx2.ConnectError):
        await ask(lanes, "http://127.0.0.1:9/")
