"""A small HTTP/1.1 client for load: kept-alive connections, one request at a time on each, as
little work as possible, so that the server is what is measured."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent again and again, and what must be in the answer."""

    port: int
    target: str
    body: bytes
    expected: bytes

    def encoded(self) -> bytes:
        head = (
            f"POST {self.target} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"content-type: application/json\r\ncontent-length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


async def latencies(request: Request, number: int) -> list[float]:
    """Seconds of each of ``number`` requests, one after the other. Raises RuntimeError for another
    answer."""
    return await _repeat(request, number)


async def per_second(request: Request, number: int, *, connections: int) -> float:
    """Requests a second over so many connections."""
    begun = time.perf_counter()
    each = number // connections
    await asyncio.gather(*(_repeat(request, each) for _ in range(connections)))
    return each * connections / (time.perf_counter() - begun)


async def _repeat(request: Request, number: int) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", request.port)
    data = request.encoded()
    times: list[float] = []
    for _ in range(number):
        begun = time.perf_counter()
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(_length(head))
        times.append(time.perf_counter() - begun)
        if not head.startswith(b"HTTP/1.1 200") or request.expected not in body:
            raise RuntimeError(f"{head.decode()}{body.decode()}")
    writer.close()
    return times


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise RuntimeError("an answer without a length")
