from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from perdure.demo.meter import Call, Meter, usage_of
from perdure.testing.simulator import Fault, Match, ProviderSimulator, Reply, Usage, script

ASK = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Plan."}]}
HEADERS = {"x-api-key": "any", "anthropic-version": "2023-06-01"}


async def _nothing(call: Call) -> None:
    raise AssertionError("no call is to be held")


@asynccontextmanager
async def metered(sim: ProviderSimulator, **how: Any) -> AsyncIterator[Meter]:
    how = {"holds": lambda call: False, "held": _nothing, **how}
    meter = Meter(sim.url, **how)
    await meter.start()
    try:
        yield meter
    finally:
        await meter.stop()


def _script() -> ProviderSimulator:
    return ProviderSimulator(script([Reply("Here it is.", usage=Usage(11, 7))]))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_call_is_passed_on_and_counted(stream: bool) -> None:
    async with (
        _script() as sim,
        metered(sim) as meter,
        httpx2.AsyncClient(base_url=meter.url, headers=HEADERS, trust_env=False) as client,
    ):
        answer = await client.post("/v1/messages", json={**ASK, "stream": stream})
        assert answer.status_code == 200
        assert "Here" in answer.text
        (call,) = meter.calls
        assert (call.n, call.step, call.status) == (1, "plan", 200)
        assert (call.input_tokens, call.output_tokens) == (11, 7)
        assert call.delivered


async def test_the_same_question_has_the_same_digest() -> None:
    async with (
        _script() as sim,
        metered(sim) as meter,
        httpx2.AsyncClient(base_url=meter.url, headers=HEADERS, trust_env=False) as client,
    ):
        for changes in ({}, {"metadata": {"user_id": "x"}}, {"max_tokens": 10}):
            await client.post("/v1/messages", json={**ASK, **changes})
        first, same, other = meter.calls
        assert first.digest == same.digest != other.digest


async def test_other_requests_pass_uncounted() -> None:
    async with (
        _script() as sim,
        metered(sim) as meter,
        httpx2.AsyncClient(base_url=meter.url, headers=HEADERS, trust_env=False) as client,
    ):
        assert (await client.get("/v1/models?limit=3")).json()["data"]
        assert meter.calls == []


async def test_a_failed_call_is_not_paid() -> None:
    async with (
        ProviderSimulator(faults=[Fault("529", Match(nth=1))]) as sim,
        metered(sim) as meter,
        httpx2.AsyncClient(base_url=meter.url, headers=HEADERS, trust_env=False) as client,
    ):
        assert (await client.post("/v1/messages", json=ASK)).status_code == 529
        assert not meter.calls[0].paid


async def test_a_provider_that_is_away_is_a_502() -> None:
    sim = _script().start()
    sim.stop()
    async with (
        metered(sim) as meter,
        httpx2.AsyncClient(base_url=meter.url, headers=HEADERS, trust_env=False) as client,
    ):
        answer = await client.post("/v1/messages", json=ASK)
        assert answer.status_code == 502
        assert answer.json()["error"]["type"] == "api_error"
        assert not meter.calls[0].paid


async def test_a_held_call_is_in_flight_and_paid_though_its_client_is_gone() -> None:
    held, go = asyncio.Event(), asyncio.Event()

    async def hold(call: Call) -> None:
        call.cut = True
        held.set()
        await go.wait()

    async with (
        _script() as sim,
        metered(sim, holds=lambda call: call.n == 1, held=hold) as meter,
    ):
        client = httpx2.AsyncClient(base_url=meter.url, headers=HEADERS, trust_env=False)
        asking = asyncio.create_task(client.post("/v1/messages", json=ASK))
        await held.wait()
        await sim.wait(answered=1)  # the provider has it and has done its work
        asking.cancel()
        await client.aclose()
        go.set()
    (call,) = meter.calls
    assert call.paid
    assert not call.delivered
    assert call.output_tokens == 7


def test_cached_input_is_input() -> None:
    usage = b'{"usage": {"input_tokens": 5, "cache_read_input_tokens": 20, "output_tokens": 3}}'
    assert usage_of(usage) == (25, 3)
    assert usage_of(b"<html>") == (0, 0)
