"""Hold, release, wait and the control routes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2
import pytest

from perdure.testing.simulator import Match, ProviderSimulator, SimulatorTimeout

ASK: Any = [{"role": "user", "content": "hold me " * 20}]


@pytest.fixture
async def sim() -> AsyncIterator[ProviderSimulator]:
    async with ProviderSimulator() as running:
        yield running


@pytest.fixture
async def claude(sim: ProviderSimulator) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=sim.url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
async def control(sim: ProviderSimulator) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=f"{sim.url}/_sim") as client:
        yield client


async def ask(client: anthropic.AsyncAnthropic, model: str = "m") -> str:
    return (await client.messages.create(model=model, max_tokens=9, messages=ASK)).id


async def test_answers_are_held_and_released_in_order(
    sim: ProviderSimulator, claude: anthropic.AsyncAnthropic
) -> None:
    sim.hold()
    first = asyncio.create_task(ask(claude))
    await sim.wait(held=1)
    second = asyncio.create_task(ask(claude))
    counts = await sim.wait(held=2)
    assert (counts.started, counts.finished, counts.in_flight) == (2, 0, 2)
    assert sim.release(1) == 1
    await first
    assert not second.done()
    third = asyncio.create_task(ask(claude))
    await sim.wait(held=2)
    assert sim.release() == 2
    await asyncio.gather(second, third)
    await ask(claude)
    assert sim.counts().answered == 4


async def test_a_hold_can_be_for_some_calls_only(
    sim: ProviderSimulator, claude: anthropic.AsyncAnthropic
) -> None:
    sim.hold(Match(model="slow"))
    held = asyncio.create_task(ask(claude, "slow"))
    await sim.wait(held=1)
    await ask(claude, "fast")
    sim.release()
    await held


async def test_a_stream_can_be_held_in_its_middle(
    sim: ProviderSimulator, claude: anthropic.AsyncAnthropic
) -> None:
    sim.hold(after_chunks=5)
    stream = await claude.messages.create(model="m", max_tokens=9, messages=ASK, stream=True)
    seen = [(await anext(stream)).type for _ in range(4)]  # and a ping, which the SDK swallows
    assert seen == ["message_start", "content_block_start", *["content_block_delta"] * 2]
    assert (await sim.wait(held=1)).in_flight == 1
    sim.release()
    assert [event.type async for event in stream][-1] == "message_stop"


async def test_a_hold_beyond_the_end_is_before_the_last_event(
    sim: ProviderSimulator, claude: anthropic.AsyncAnthropic
) -> None:
    sim.hold(after_chunks=10_000)
    stream = await claude.messages.create(model="m", max_tokens=9, messages=ASK, stream=True)
    async for event in stream:
        if event.type == "message_delta":
            break
    await sim.wait(held=1)
    sim.release()
    assert [event.type async for event in stream] == ["message_stop"]
    sim.hold(after_chunks=10_000)
    whole = asyncio.create_task(ask(claude))
    await sim.wait(held=1)
    sim.release()
    await whole


async def test_a_held_call_whose_client_leaves_is_aborted(
    sim: ProviderSimulator, claude: anthropic.AsyncAnthropic
) -> None:
    sim.hold()
    task = asyncio.create_task(ask(claude))
    await sim.wait(held=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    counts = await sim.wait(finished=1)
    assert (counts.aborted, sim.counts().held, sim.release()) == (1, 0, 0)


async def test_waiting_in_vain_says_what_there_is(sim: ProviderSimulator) -> None:
    with pytest.raises(SimulatorTimeout, match="'started': 0"):
        await sim.wait(started=1, timeout=0.01)
    with pytest.raises(SimulatorTimeout):
        sim.wait_sync(started=1, timeout=0.01)


def test_a_blocked_test_does_not_stall_the_provider() -> None:
    with ProviderSimulator() as sim:
        with anthropic.Anthropic(base_url=sim.url, api_key="any") as client:
            thread = threading.Thread(
                target=client.messages.create,
                kwargs={"model": "m", "max_tokens": 9, "messages": ASK},
            )
            sim.hold()
            thread.start()
            sim.wait_sync(held=1)
            sim.release()
            assert sim.wait_sync(answered=1).answered == 1
            thread.join()
        port = sim.port
        assert sim.url == f"http://127.0.0.1:{port}"


async def test_reset_starts_over(sim: ProviderSimulator, claude: anthropic.AsyncAnthropic) -> None:
    one = await ask(claude)
    sim.hold()
    held = asyncio.create_task(ask(claude))
    await sim.wait(held=1)
    sim.reset()
    await held
    assert sim.counts().started == sim.counts().finished == 0
    assert await ask(claude) == one
    assert [row.n for row in sim.calls()] == [1]


async def test_calls_and_counts_over_http(
    control: httpx2.AsyncClient, claude: anthropic.AsyncAnthropic
) -> None:
    for _ in range(3):
        await ask(claude)
    rows = (await control.get("/calls", params={"after": 1, "limit": 1})).json()
    assert [(row["n"], row["status"], row["format"]) for row in rows] == [
        (2, "answered", "anthropic")
    ]
    counts = (await control.get("/counts")).json()
    digest = rows[0]["digest"]
    assert counts["by_digest"] == {digest: {"started": 3, "answered": 3}}
    assert counts["repeated"] == {digest: 3}
    assert "by_digest" not in (await control.get("/counts", params={"digests": 0})).json()
    await control.post("/reset")
    assert (await control.get("/calls")).json() == []


async def test_faults_over_http(
    control: httpx2.AsyncClient, claude: anthropic.AsyncAnthropic
) -> None:
    plan = [{"kind": "529", "match": {"nth": 1}}]
    assert (await control.post("/faults", json=plan)).status_code == 200
    with pytest.raises(anthropic.OverloadedError):
        await ask(claude)
    assert (await control.get("/faults")).json() == [{**plan[0], "struck": 1}]
    wrong = await control.post("/faults", json=[{"kind": "explode"}])
    assert wrong.status_code == 422
    assert wrong.json()["code"] == "invalid_input"


async def test_hold_wait_and_release_over_http(
    control: httpx2.AsyncClient, claude: anthropic.AsyncAnthropic
) -> None:
    await control.post("/hold", json={"match": {"model": "m"}})
    task = asyncio.create_task(ask(claude))
    waited = await control.get("/wait", params={"calls": 1, "held": 1})
    assert waited.json()["in_flight"] == 1
    assert (await control.post("/release", json={"count": 1})).json() == {"released": 1}
    await task
    done = await control.get("/wait", params={"finished": 1, "answered": 1})
    assert done.json()["answered"] == 1
    late = await control.get("/wait", params={"calls": 9, "timeout": 0.01})
    assert late.status_code == 408
    assert (await control.post("/release")).json() == {"released": 0}


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/hold", '{"where": 1}'),
        ("/hold", "[]"),
        ("/hold", "{"),
        ("/hold", '{"after_chunks": -1}'),
        ("/release", '{"count": "all"}'),
    ],
)
async def test_wrong_control_requests(control: httpx2.AsyncClient, route: str, body: str) -> None:
    assert (await control.post(route, content=body)).status_code == 422


async def test_a_wrong_parameter(control: httpx2.AsyncClient) -> None:
    assert (await control.get("/wait", params={"calls": "many"})).status_code == 422
