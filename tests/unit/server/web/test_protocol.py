"""What a client may send before anything is done with it is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from perdure.server.serve import HTTP

HEAD_BYTES = 16 * 1024  # h11's own bound
PIECE = b"x" * 16384


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """How many bytes came."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"%d" % size
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    config = uvicorn.Config(echo, http=HTTP, port=0, lifespan="off", log_config=None, ws="none")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server.servers[0].sockets[0].getsockname()[1]
    await server.shutdown()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def pour(self, piece: bytes, most: int = 64 * HEAD_BYTES) -> int:
        """Until the server hangs up; how many bytes it took."""
        sent = 0
        try:
            while sent < most and not self.reader.at_eof():
                self.writer.write(piece)
                await self.writer.drain()
                await asyncio.sleep(0)
                sent += len(piece)
        except ConnectionError:
            pass
        return sent

    async def answer(self) -> bytes:
        """The body of an answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return await self.reader.readexactly(size)


@pytest.fixture
async def client(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield Client(reader, writer)
    writer.close()


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"GET /", PIECE),
        (b"GET / HTTP/1.1\r\nhost: x\r\nname: ", PIECE),
        (b"GET / HTTP/1.1\r\nhost: x\r\n", b"name: value\r\n" * 1000),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1;", PIECE),
        (
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nt: ",
            PIECE,
        ),
    ],
    ids=["line", "one header", "many headers", "chunk extension", "trailer"],
)
async def test_what_never_ends_is_cut_off(client: Client, start: bytes, piece: bytes) -> None:
    client.writer.write(start)
    assert await client.pour(piece) < 64 * HEAD_BYTES


async def test_an_offer_to_upgrade_keeps_its_body(client: Client) -> None:
    """As Java's clients make it with each request over plain HTTP."""
    offer = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    for _ in range(2):
        client.writer.write(
            b"POST / HTTP/1.1\r\nhost: x\r\n" + offer + b"content-length: 5\r\n\r\n"
        )
        await client.writer.drain()
        await asyncio.sleep(0)
        client.writer.write(b"12345")
        assert await client.answer() == b"5"


async def test_large_bodies_and_many_requests_pass(client: Client) -> None:
    for _ in range(3):
        head = b"POST / HTTP/1.1\r\nhost: x\r\nlarge: " + b"x" * (HEAD_BYTES // 2)
        client.writer.write(head + b"\r\ncontent-length: %d\r\n\r\n" % (40 * len(PIECE)))
        for _ in range(40):
            client.writer.write(PIECE)
        assert await client.answer() == b"%d" % (40 * len(PIECE))
    client.writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nname: value\r\n\r\n" * 50)
    for _ in range(50):
        assert await client.answer() == b"0"


async def test_many_small_chunks_pass(client: Client) -> None:
    client.writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(40):
        client.writer.write(b"1;extension=%s\r\na\r\n" % (b"x" * 1000) * 5)
        await client.writer.drain()
    client.writer.write(b"0\r\n\r\n")
    assert await client.answer() == b"200"
