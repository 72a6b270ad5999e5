"""The proxy's requests: what is asked before one is written, and connections used again."""

from __future__ import annotations

import pytest

from perdure.server.proxy.wire import Wire
from tests.unit.gateway.server import CountingServer


async def test_departure_is_asked_for_before_each_request_is_written() -> None:
    seen = []
    async with CountingServer() as server:

        async def departs() -> None:
            seen.append(len(server.requests))

        wire = Wire()
        for _ in range(2):
            response = await wire.send("POST", f"{server.url}/v1/x", b"", {}, b"{}", 10.0, departs)
            await response.aread()
            await response.aclose()
        assert seen == [0, 1]
        assert server.connects == 1
        await wire.close()


async def test_what_departure_raises_stops_the_request() -> None:
    class Late(Exception):
        pass

    async def departs() -> None:
        raise Late

    async with CountingServer() as server:
        wire = Wire()
        with pytest.raises(Late):
            await wire.send("POST", f"{server.url}/v1/x", b"", {}, b"{}", 10.0, departs)
        assert server.requests == []
        await wire.close()
