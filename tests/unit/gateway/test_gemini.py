"""Gemini through the real SDK at its official address: asynchronous over aiohttp, httpx and httpx2,
and synchronous."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import httpx2
import pytest
from google import genai
from google.genai import errors, types

from perdure import gateway
from perdure.testing.redirect import redirect
from perdure.testing.simulator import Fault, Match, ProviderSimulator, Reply, script
from tests.unit.gateway.boundary import MemoryRun
from tests.unit.gateway.conftest import call
from tests.unit.gateway.time import FakeTime

# google-genai's own doing.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class Aiohttp:DeprecationWarning")

HOST = "generativelanguage.googleapis.com"
KEY = "AIza-secret-value"
WORDS = "It rains in Rome, and it will rain in Rome tomorrow."
ASKED = "Will it rain?"


def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


CONFIG = types.GenerateContentConfig(
    tools=[weather],
    automatic_function_calling=types.AutomaticFunctionCallingConfig(maximum_remote_calls=3),
)


def options(over: str) -> types.HttpOptions:
    if over == "httpx":
        return types.HttpOptions(httpx_async_client=httpx.AsyncClient())
    if over == "httpx2":
        return types.HttpOptions(httpx_async_client=httpx2.AsyncClient())
    return types.HttpOptions()


async def whole(over: str) -> list[str]:
    async with genai.Client(api_key=KEY, http_options=options(over)).aio as client:
        chat = client.chats.create(model="gemini-x", config=CONFIG)
        answer = await chat.send_message(ASKED)
        return [answer.text or ""]


async def streamed(over: str) -> list[str]:
    async with genai.Client(api_key=KEY, http_options=options(over)).aio as client:
        chat = client.chats.create(model="gemini-x", config=CONFIG)
        return [piece.text or "" async for piece in await chat.send_message_stream(ASKED)]


def blocking(over: str) -> list[str]:
    with genai.Client(api_key=KEY) as client:
        return [client.chats.create(model="gemini-x", config=CONFIG).send_message(ASKED).text or ""]


def streamed_blocking(over: str) -> list[str]:
    with genai.Client(api_key=KEY) as client:
        chat = client.chats.create(model="gemini-x", config=CONFIG)
        return [piece.text or "" for piece in chat.send_message_stream(ASKED)]


AGENTS = [
    (whole, "aiohttp"), (streamed, "aiohttp"), (whole, "httpx"), (streamed, "httpx"),
    (whole, "httpx2"), (streamed, "httpx2"), (blocking, "its own"), (streamed_blocking, "its own"),
]  # fmt: skip
each_way = pytest.mark.parametrize(
    ("agent", "over"), AGENTS, ids=[f"{agent.__name__}-{over}" for agent, over in AGENTS]
)
Agent = Callable[[str], Any]


@pytest.fixture
def sim(capture: gateway.Capture) -> Iterator[ProviderSimulator]:
    brain = script([Reply("I look.", tools=[("weather", {"city": "Rome"})]), Reply(WORDS, chunk=9)])
    with ProviderSimulator(brain) as provider, redirect({HOST: provider.url}):
        yield provider


async def perform(run: MemoryRun, agent: Agent, over: str) -> list[str]:
    with run.running():
        answer: list[str] = await call(agent, over)
    await run.settle()
    return answer


async def test_the_sdk_takes_aiohttp_where_it_is_installed(sim: ProviderSimulator) -> None:
    """What makes the capture of aiohttp necessary; google-genai may change its mind."""
    async with genai.Client(api_key=KEY).aio as client:
        assert client._api_client._use_aiohttp()


@each_way
async def test_an_agent_with_a_tool_is_recorded_and_replayed(
    agent: Agent, over: str, sim: ProviderSimulator
) -> None:
    run = MemoryRun()
    answer = await perform(run, agent, over)
    assert "".join(answer).endswith(WORDS)
    assert [ticket.states for ticket in run.tickets] == [["done"], ["done"]]
    assert {ticket.name for ticket in run.tickets} == {"google/gemini-x"}
    assert b"rain in Rome" in b"".join(run.tickets[1].request)
    for ticket in run.tickets:
        assert KEY.encode() not in ticket.value + b"".join(ticket.request)

    second = run.again()
    assert await perform(second, agent, over) == answer
    assert second.tickets == []
    assert sim.counts().started == 2


@pytest.mark.parametrize("over", ["aiohttp", "httpx", "httpx2"])
async def test_the_words_of_a_stream_are_told_once(over: str, sim: ProviderSimulator) -> None:
    run = MemoryRun()
    pieces = await perform(run, streamed, over)
    assert len(pieces) > 3
    assert ["".join(ticket.deltas) for ticket in run.tickets] == ["I look.", WORDS]
    second = run.again()
    assert await perform(second, streamed, over) == pieces


@pytest.mark.parametrize("agent", [whole, streamed])
async def test_other_libraries_replay_what_aiohttp_recorded(
    agent: Agent, sim: ProviderSimulator
) -> None:
    run = MemoryRun()
    answer = await perform(run, agent, "aiohttp")
    for other, over in AGENTS:
        if ("streamed" in other.__name__) == (agent is streamed):
            again = run.again()
            assert await perform(again, other, over) == answer
            assert again.tickets == []


@each_way
async def test_passing_errors_are_retried_by_the_gateway_alone(
    agent: Agent, over: str, sim: ProviderSimulator, time: FakeTime
) -> None:
    sim.set_faults([Fault("503", Match(nth=1)), Fault("drop", Match(nth=2))])
    run = MemoryRun()
    assert "".join(await perform(run, agent, over)).endswith(WORDS)
    assert [len(ticket.warnings) for ticket in run.tickets] == [2, 0]
    assert len(time.slept) == 2


@each_way
async def test_the_last_failure_reaches_the_sdk_once(
    agent: Agent, over: str, sim: ProviderSimulator
) -> None:
    sim.set_faults([Fault("503")])
    run = MemoryRun()
    for again in (False, True):
        with pytest.raises(errors.ServerError, match="overloaded") as raised:
            await perform(run.again() if again else run, agent, over)
        assert raised.value.code == 503
    assert sim.counts().started == 4
    assert run.only.states == ["failed"]


async def test_an_error_within_a_stream_reaches_the_sdk(sim: ProviderSimulator) -> None:
    sim.set_faults([Fault("error", Match(nth=2), after_chunks=2)])
    run = MemoryRun()
    for again in (False, True):
        with pytest.raises(errors.ServerError, match="overloaded"):
            await perform(run.again() if again else run, streamed, "aiohttp")
    assert [ticket.states for ticket in run.tickets] == [["done"], ["failed"]]


async def test_a_consumer_that_breaks_off_loses_nothing(sim: ProviderSimulator) -> None:
    """Rule C8, though the client and its connections are closed at once."""
    sim.hold(Match(nth=1), after_chunks=1)

    async def hasty() -> str:
        async with genai.Client(api_key=KEY).aio as client:
            pieces = await client.models.generate_content_stream(
                model="gemini-x", contents=ASKED, config=types.GenerateContentConfig(tools=[])
            )
            async for piece in pieces:
                return piece.text or ""
        return "nothing"

    run = MemoryRun()
    with run.running():
        first = await hasty()
        await sim.wait(held=1)
        sim.release()
        await run.settle()
    assert first == "I look."
    assert run.only.states == ["done"]
    assert b"functionCall" in run.only.value
