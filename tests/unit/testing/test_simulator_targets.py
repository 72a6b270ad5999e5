"""Several targets in one simulator: meters, faults and addresses of their own."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2
import openai
import pytest

from perdure.errors import InvalidInput
from perdure.testing.simulator import Fault, Match, ProviderSimulator, Quota, Reply
from perdure.testing.simulator.quota.limit import Limit

ASK: Any = [{"role": "user", "content": "Why tides? " * 20}]


async def ask(url: str, key: str = "a", **extra: Any) -> Any:
    async with anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0) as claude:
        said: Any = await claude.messages.create(model="m", max_tokens=9, messages=ASK, **extra)
        return [event async for event in said] if extra.get("stream") else said


async def test_each_base_url_has_meters_of_its_own() -> None:
    limits = [Quota((Limit("requests", 1),), by=("target",))]
    async with ProviderSimulator(limits=limits, targets=("east",)) as sim:
        await ask(f"{sim.url}/east")
        with pytest.raises(anthropic.RateLimitError):
            await ask(sim.target_url("east"))
        await ask(f"{sim.url}/west")
        await ask(sim.url)
        gpt = openai.AsyncOpenAI(base_url=f"{sim.url}/south/v1", api_key="a", max_retries=0)
        async with gpt:
            await gpt.chat.completions.create(model="m", messages=ASK)
            assert [model.id async for model in await gpt.models.list()]
        assert [(row.target, row.path) for row in sim.calls()] == [
            ("east", "/v1/messages"), ("east", "/v1/messages"), ("west", "/v1/messages"),
            ("", "/v1/messages"), ("south", "/v1/chat/completions"),
        ]  # fmt: skip
        assert {t: tally.limited for t, tally in sim.accounting().by_target.items()} == {
            "east": 1, "west": 0, "": 0, "south": 0,
        }  # fmt: skip


async def test_faults_strike_one_target_or_key_and_are_changed_as_it_runs() -> None:
    async with ProviderSimulator(faults=[Fault("529", Match(key="poor"))]) as sim:
        east, west = f"{sim.url}/east", f"{sim.url}/west"
        sim.set_faults([Fault("429", retry_after=1)], target="east")
        with pytest.raises(anthropic.RateLimitError):
            await ask(east)
        await ask(west)
        with pytest.raises(anthropic.OverloadedError):
            await ask(west, key="poor")
        async with httpx2.AsyncClient(base_url=sim.url) as http:
            rules = [{"kind": "500", "times": 1}]
            told = (await http.post("/_sim/faults?target=east", json=rules)).json()
        assert [(rule["kind"], rule["match"], rule["struck"]) for rule in told] == [
            ("500", {"target": "east"}, 0), ("529", {"key": "poor"}, 1),
        ]  # fmt: skip
        with pytest.raises(anthropic.InternalServerError):
            await ask(east)
        await ask(east)
        sim.set_faults([Fault("break", after_chunks=4)], target="east")
        with pytest.raises(httpx2.RemoteProtocolError):
            await ask(east, stream=True)
        sim.set_faults([], target="east")
        await ask(east)


async def test_a_target_that_is_down_refuses_connections_and_cuts_those_it_has() -> None:
    async with ProviderSimulator(targets=("east", "west")) as sim:
        east = sim.target_url("east")
        sim.hold(after_chunks=3)
        async with httpx2.AsyncClient() as http:
            body = {"model": "m", "max_tokens": 9, "messages": ASK, "stream": True}
            async with http.stream("POST", f"{east}/v1/messages", json=body) as cut:
                await sim.wait(held=1)
                sim.down("east")
                with pytest.raises(httpx2.TransportError):
                    await cut.aread()
            await sim.wait(finished=1)
            assert sim.calls()[0].status == "aborted"
            sim.release()
            with pytest.raises(httpx2.ConnectError):
                await http.post(f"{east}/v1/messages", json=body)
            sim.down("east")  # twice is once
            await ask(sim.target_url("west"))
            await ask(sim.url)
            sim.up("east")
            assert sim.target_url("east") == east
            assert (await http.post(f"{east}/v1/messages", json=body)).status_code == 200
        assert sim.counts().started == 4


async def test_the_address_itself_goes_down_and_comes_back_over_http() -> None:
    async with ProviderSimulator(targets=("east",)) as sim, httpx2.AsyncClient() as http:
        answer = await http.post(f"{sim.url}/_sim/down", json={"target": ""})
        assert [(t["target"], t["down"]) for t in answer.json()] == [("", True), ("east", False)]
        async with httpx2.AsyncClient() as other:
            with pytest.raises(httpx2.ConnectError):
                await other.get(f"{sim.url}/_sim/counts")
            answer = await other.post(f"{sim.target_url('east')}/_sim/up", json={})
            assert not any(target["down"] for target in answer.json())
            assert (await other.get(f"{sim.url}/_sim/counts")).status_code == 200


async def test_a_target_comes_back_by_itself() -> None:
    async with ProviderSimulator(targets=("east",)) as sim, httpx2.AsyncClient() as http:
        east = sim.target_url("east")
        sim.down("east", seconds=0)
        transport = httpx2.AsyncHTTPTransport(retries=20)  # connects again until it succeeds
        async with httpx2.AsyncClient(transport=transport) as patient:
            assert (await patient.get(f"{east}/_sim/counts")).status_code == 200
        wrong = {"target": "east", "seconds": -1}
        assert (await http.post(f"{sim.url}/_sim/down", json=wrong)).status_code == 422


async def test_names_that_are_no_targets() -> None:
    for name in ("v1", "_sim", "a/b", ""):
        with pytest.raises(InvalidInput):
            ProviderSimulator(targets=(name,)).start()
    async with ProviderSimulator() as sim:
        with pytest.raises(InvalidInput):
            sim.down("east")
        with pytest.raises(InvalidInput):
            sim.target_url("east")
    with pytest.raises(RuntimeError):
        sim.down()


async def test_several_simulators_run_side_by_side() -> None:
    async with (
        ProviderSimulator(lambda call: Reply("one"), targets=("east",)) as one,
        ProviderSimulator(lambda call: Reply("two"), targets=("east",)) as two,
    ):
        one.down("east")
        said = await ask(two.target_url("east"))
        assert said.content[0].text == "two"
        assert (one.counts().started, two.counts().started) == (0, 1)
