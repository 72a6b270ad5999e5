"""What agents may do with a response, live and replayed, and how they may leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import pytest

from perdure import gateway
from perdure.testing.simulator import ProviderSimulator
from tests.unit.gateway.boundary import MemoryRun
from tests.unit.gateway.conftest import WORDS

URL = "https://api.anthropic.com/v1/messages"
ASKED: dict[str, Any] = {
    "model": "claude-x", "max_tokens": 50, "messages": [{"role": "user", "content": "Why tides?"}],
}  # fmt: skip


async def _lines(answer: aiohttp.ClientResponse) -> bytes:
    return b"".join([line async for line in answer.content])


async def _chunked(answer: aiohttp.ClientResponse) -> bytes:
    return b"".join([piece async for piece in answer.content.iter_chunked(7)])


async def _any(answer: aiohttp.ClientResponse) -> bytes:
    return b"".join([piece async for piece in answer.content.iter_any()])


async def _chunks(answer: aiohttp.ClientResponse) -> bytes:
    return b"".join([piece async for piece, _ in answer.content.iter_chunks()])


async def _all(answer: aiohttp.ClientResponse) -> bytes:
    return await answer.read()


async def _text(answer: aiohttp.ClientResponse) -> bytes:
    return (await answer.text()).encode()


async def _exactly(answer: aiohttp.ClientResponse) -> bytes:
    return await answer.content.readexactly(20) + await answer.content.read()


WAYS = [_lines, _chunked, _any, _chunks, _all, _text, _exactly]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__[1:])
async def test_a_body_can_be_read_in_any_way(
    way: Callable[[aiohttp.ClientResponse], Awaitable[bytes]],
    streamed: bool,
    capture: gateway.Capture,
    sim: ProviderSimulator,
) -> None:
    async def ask() -> bytes:
        body = {**ASKED, "stream": streamed}
        async with aiohttp.ClientSession() as session, session.post(URL, json=body) as answer:
            return await way(answer)

    run = MemoryRun()
    with run.running():
        said = await ask()
    await run.settle()
    recorded = orjson.loads(run.only.value)["body"].encode()
    assert said == recorded
    with run.again().running():
        assert await ask() == said


async def test_a_response_knows_what_a_real_one_knows(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    seen = []
    run = MemoryRun()
    for attempt in (run, None):
        async with aiohttp.ClientSession() as session:
            with (attempt or run.again()).running():
                answer = await session.post(URL, json=ASKED)
            before = answer.closed
            assert WORDS in await answer.text()
            seen.append(
                (
                    answer.status, answer.reason, answer.ok, str(answer.url), answer.method,
                    answer.content_type, answer.charset, dict(answer.headers), answer.history,
                    answer.host, dict(answer.cookies), answer.version, before, answer.closed,
                    answer.request_info.method, answer.raw_headers, repr(answer),
                )
            )  # fmt: skip
    assert seen[0] == seen[1]
    assert seen[0][:5] == (200, "OK", True, URL, "POST")


async def test_who_stops_waiting_abandons_the_call(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    """Rule F3."""
    sim.hold()
    run = MemoryRun()

    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            await session.post(URL, json=ASKED)

    with run.running():
        asking = asyncio.create_task(ask())
    await sim.wait(held=1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert run.only.states == ["abandoned"]
    await sim.wait(finished=1)
    assert sim.counts().aborted == 1


async def test_a_response_that_is_dropped_is_recorded(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    run = MemoryRun()
    async with aiohttp.ClientSession() as session:
        with run.running():
            answer = await session.post(URL, json={**ASKED, "stream": True})
        answer.close()
        assert answer.closed
        with pytest.raises(aiohttp.ClientConnectionError):
            await answer.content.read()
    await run.settle()
    assert run.only.states == ["done"]
