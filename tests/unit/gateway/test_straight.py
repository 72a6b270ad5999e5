"""What is about to be written goes before whatever else the event loop has to do."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import httpx2
import pytest

from perdure.gateway import httpx2_transport, httpx_transport
from perdure.gateway.transport.lanes import Lanes
from perdure.gateway.transport.straight import MOST, straight
from perdure.testing.simulator import ProviderSimulator


async def turns(count: int) -> str:
    for _ in range(count):
        await asyncio.sleep(0)
    return "done"


async def test_it_does_not_give_way() -> None:
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await asyncio.sleep(0)
    before = others
    assert await straight(turns(MOST)) == "done"
    assert others == before
    task.cancel()


async def test_it_waits_for_what_it_waits_for_and_hears_of_errors() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def waits() -> str:
        await asyncio.sleep(0)
        try:
            return await future
        except LookupError:
            return "heard"

    task = asyncio.ensure_future(straight(waits()))
    await turns(3)
    assert not task.done()
    future.set_exception(LookupError())
    assert await task == "heard"


async def test_it_can_be_cancelled_and_timed_out() -> None:
    cleaned: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    task = asyncio.ensure_future(straight(waits()))
    await turns(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await straight(waits())
    assert cleaned == ["up", "up"]


async def test_who_spins_until_others_have_done_something_is_not_in_their_way() -> None:
    done: list[str] = []

    async def spins() -> None:
        while not done:  # noqa: ASYNC110
            await asyncio.sleep(0)

    asyncio.get_running_loop().call_soon(done.append, "something")
    await asyncio.wait_for(straight(spins()), 5)


async def test_errors_pass() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError

    with pytest.raises(LookupError):
        await straight(fails())


@pytest.mark.parametrize("library", [httpx_transport.library, httpx2_transport.library])
async def test_between_departing_and_the_last_byte_nobody_has_a_turn(
    sim: ProviderSimulator, library: Any
) -> None:
    module: Any = library.module
    assert module in (httpx, httpx2)
    lanes = Lanes(library, {})
    turn, seen = 0, {}

    async def turning() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async def trace(name: str, info: Any) -> None:
        seen[name.partition(".")[2]] = turn

    body = {"model": "claude-sonnet-5-5", "max_tokens": 9, "messages": []}
    task = asyncio.create_task(turning())
    for _ in range(2):  # the second time the connection is there
        request = module.Request(
            "POST", f"{sim.url}/v1/messages", json=body, extensions={"trace": trace}
        )
        response = await lanes.send(request, module.AsyncHTTPTransport.handle_async_request)
        await response.aread()
        await response.aclose()
        assert seen["send_request_body.complete"] == seen["send_request_headers.started"]
    task.cancel()
    await lanes.close()
