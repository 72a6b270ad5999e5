"""Captured calls share warm connections (rule T4), and only where that changes nothing else."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest

from perdure import gateway
from perdure.gateway import httpx2_transport
from perdure.gateway.transport.pools import plain
from perdure.testing.redirect import redirect
from tests.unit.gateway.boundary import MemoryRun
from tests.unit.gateway.server import CountingServer

URL = "https://api.openai.com/v1/responses"
OPTIONS: list[dict[str, Any]] = [
    {"verify": False},
    {"verify": ssl.create_default_context()},
    {"http1": True, "http2": True},
    {"proxy": "http://127.0.0.1:1"},
    {"uds": "/tmp/socket"},
    {"limits": httpx2.Limits(max_connections=5)},
    {"an_option_of_tomorrow": 1},
]


@pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
async def test_twenty_short_lived_clients_make_one_connection(
    library: Any, capture: gateway.Capture
) -> None:
    async with CountingServer() as server:
        with redirect({"api.openai.com": server.url}), MemoryRun().running():
            for _ in range(20):
                async with library.AsyncClient() as client:
                    await client.post(URL, json={"model": "m"})
        assert len(server.requests) == 20
        assert server.connects == 1


@pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
async def test_the_same_in_threads(library: Any, capture: gateway.Capture) -> None:
    def agent() -> None:
        with library.Client() as client:
            client.post(URL, json={"model": "m"})

    async with CountingServer() as server:
        with redirect({"api.openai.com": server.url}), MemoryRun().running():
            for _ in range(20):
                await asyncio.to_thread(agent)
        assert len(server.requests) == 20
        assert server.connects == 1
        gateway.uninstall()  # closes what threads share
        await server.all_gone.wait()
        gateway.install(capture)


async def test_the_sdks_own_clients_share_too(capture: gateway.Capture) -> None:
    body: Any = {"model": "m", "messages": []}
    async with CountingServer() as server:
        hosts = {"api.openai.com": server.url, "api.anthropic.com": server.url}
        with redirect(hosts), MemoryRun().running():
            for _ in range(5):
                async with openai.AsyncOpenAI(api_key="k") as client:
                    await client.chat.completions.create(**body)
            assert server.connects == 1
            for _ in range(5):
                async with anthropic.AsyncAnthropic(api_key="k") as other:
                    await other.messages.create(max_tokens=5, **body)
        # This SDK asks for other socket options, so it has a pool of its own.
        assert server.connects == 2


async def test_the_explicit_transport_shares_as_well() -> None:
    async with CountingServer() as server:
        with redirect({"api.openai.com": server.url}), MemoryRun().running():
            for _ in range(20):
                async with httpx2.AsyncClient(transport=gateway.AsyncTransport()) as client:
                    await client.post(URL, json={"model": "m"})
        assert server.connects == 1


def test_pools_close_when_their_loop_ends(capture: gateway.Capture) -> None:
    def connections() -> int:
        return sum(len(transports) for transports in pools._by_loop)

    pools = httpx2_transport.patch.pools
    inside = 0

    async def main() -> None:
        nonlocal inside
        async with CountingServer() as server:
            with redirect({"api.openai.com": server.url}), MemoryRun().running():
                async with httpx2.AsyncClient() as client:
                    await client.post(URL, json={"model": "m"})
        inside = connections()

    before = connections()
    # An open socket at the end would be a ResourceWarning, which is an error here.
    asyncio.run(main())
    assert inside == before + 1
    assert connections() == before


def test_each_loop_has_its_own(capture: gateway.Capture) -> None:
    def agent() -> None:
        async def main() -> None:
            async with httpx2.AsyncClient() as client:
                await client.post(URL, json={"model": "m"})

        with run.running():
            asyncio.run(main())

    async def serve() -> int:
        async with CountingServer() as server:
            with redirect({"api.openai.com": server.url}):
                threads = [threading.Thread(target=agent) for _ in range(3)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    await asyncio.to_thread(thread.join)
            return server.connects

    run = MemoryRun()
    assert asyncio.run(serve()) == 3
    assert [ticket.states for ticket in run.tickets] == [["done"]] * 3


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: next(iter(options)))
def test_what_is_not_plain_is_not_shared(options: dict[str, Any]) -> None:
    assert plain(options) is None


def test_plain_is() -> None:
    assert plain({}) == {}
    default: dict[str, Any] = {"verify": True, "cert": None, "http2": False, "proxy": None}
    assert plain(default) == {}
    assert plain({"limits": httpx2.Limits(max_connections=1000)}) == {}
    keepalive = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)]
    assert plain({"socket_options": keepalive}) == {"socket_options": tuple(keepalive)}
    assert plain({"retries": 2, "trust_env": False}) == {"retries": 2, "trust_env": False}


async def test_a_limit_that_is_meant_is_kept(capture: gateway.Capture) -> None:
    async with CountingServer() as server:
        with redirect({"api.openai.com": server.url}), MemoryRun().running():
            for _ in range(3):
                limits = httpx2.Limits(max_connections=2)
                async with httpx2.AsyncClient(limits=limits) as client:
                    await client.post(URL, json={"model": "m"})
        assert server.connects == 3


async def test_a_transport_with_another_pool_is_used_itself(capture: gateway.Capture) -> None:
    used = []

    class Watched(type(httpx2.AsyncHTTPTransport()._pool)):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            used.append(request.url.host)
            return await super().handle_async_request(request)

    transport = httpx2.AsyncHTTPTransport()
    transport._pool = Watched()
    async with CountingServer() as server:
        with redirect({"api.openai.com": server.url}), MemoryRun().running():
            async with httpx2.AsyncClient(transport=transport) as client:
                await client.post(URL, json={"model": "m"})
    assert used == [b"api.openai.com"]


async def test_clients_made_before_the_patch_keep_their_own(capture: gateway.Capture) -> None:
    gateway.uninstall()
    early = httpx2.AsyncClient()
    gateway.install(capture)
    async with CountingServer() as server:
        with redirect({"api.openai.com": server.url}), MemoryRun().running() as run:
            async with httpx2.AsyncClient() as client:
                await client.post(URL, json={"model": "m"})
            async with early:
                await early.post(URL, json={"model": "m"})
        assert server.connects == 2
        assert len(run.tickets) == 2
