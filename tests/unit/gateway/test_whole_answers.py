"""Whole answers through the real SDKs, asynchronous and synchronous, at their official URLs."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anthropic
import httpx2
import openai
import orjson
import pytest

from perdure import gateway
from perdure.core.retry import RetryPolicy
from perdure.errors import LoopGuard
from perdure.gateway.retries import RetrySettings
from perdure.testing.redirect import redirect
from perdure.testing.simulator import Fault, Match, ProviderSimulator
from tests.unit.gateway.boundary import MemoryRun
from tests.unit.gateway.conftest import WORDS, call
from tests.unit.gateway.time import FakeTime

SERVER_ERRORS: Any = (anthropic.InternalServerError, openai.InternalServerError)
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Why tides?"}]}
KEY = "sk-secret-value"


async def claude() -> Any:
    async with anthropic.AsyncAnthropic(api_key=KEY) as client:
        message = await client.messages.create(model="claude-x", max_tokens=50, **ASKED)
        return message.to_json()


async def gpt() -> Any:
    async with openai.AsyncOpenAI(api_key=KEY) as client:
        completion = await client.chat.completions.create(model="gpt-x", **ASKED)
        return completion.to_json()


async def responses() -> Any:
    async with openai.AsyncOpenAI(api_key=KEY) as client:
        response = await client.responses.create(model="gpt-x", input="Why tides?")
        return response.to_json()


def claude_blocking() -> Any:
    with anthropic.Anthropic(api_key=KEY) as client:
        return client.messages.create(model="claude-x", max_tokens=50, **ASKED).to_json()


def gpt_blocking() -> Any:
    with openai.OpenAI(api_key=KEY) as client:
        return client.chat.completions.create(model="gpt-x", **ASKED).to_json()


AGENTS = [claude, gpt, responses, claude_blocking, gpt_blocking]
each_agent = pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.__name__)
Agent = Callable[[], Any]


async def perform(run: MemoryRun, agent: Agent) -> str:
    with run.running():
        answer: str = await call(agent)
        return answer


@each_agent
async def test_a_call_is_recorded_and_replayed(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    run = MemoryRun()
    answer = await perform(run, agent)
    assert WORDS in answer
    assert run.only.states == ["done"]
    assert run.only.name.endswith("-x")
    assert b"Why tides?" in b"".join(run.only.request)

    second = run.again()
    assert await perform(second, agent) == answer
    assert second.tickets == []
    assert sim.counts().started == 1


@each_agent
async def test_no_secret_and_nothing_fleeting_is_recorded(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    run = MemoryRun()
    await perform(run, agent)
    kept = run.only.value + b"".join(run.only.request)
    assert KEY.encode() not in kept
    assert b'"date"' not in kept
    names = [name for name, _ in orjson.loads(run.only.value)["headers"]]
    assert set(names) <= {"content-type", "request-id", "x-request-id"}


@each_agent
async def test_outside_any_run_nothing_is_touched(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    assert WORDS in await call(agent)
    assert sim.counts().started == 1


@each_agent
async def test_passing_errors_are_retried_by_the_gateway_alone(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator, time: FakeTime
) -> None:
    sim.set_faults(
        [
            Fault("529", Match(nth=1)),
            Fault("429", Match(nth=2), retry_after=7),
            Fault("drop", Match(nth=3)),
        ]
    )
    run = MemoryRun()
    assert WORDS in await perform(run, agent)
    assert run.only.states == ["done"]
    # Half of 0.5 s; what was asked for and at most 0.5 s more; half of 2 s.
    assert time.slept == [0.25, 7.5, 1.0]
    assert [code for code, _ in run.only.warnings] == ["model_retry"] * 3
    assert sim.counts().started == 4


@each_agent
async def test_a_final_failure_is_not_retried_by_the_sdk_and_replays_alike(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    sim.set_faults([Fault("500")])
    run = MemoryRun()
    with pytest.raises(SERVER_ERRORS) as live:
        await perform(run, agent)
    assert live.value.response.headers["x-should-retry"] == "false"
    assert run.only.states == ["failed"]
    assert sim.counts().started == 4

    second = run.again()
    same: Any = type(live.value)
    with pytest.raises(same) as replayed:
        await perform(second, agent)
    assert str(replayed.value) == str(live.value)
    assert replayed.value.response.headers == live.value.response.headers
    assert second.tickets == []
    assert sim.counts().started == 4


@each_agent
async def test_a_used_up_account_is_not_asked_again(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator, time: FakeTime
) -> None:
    sim.set_faults([Fault("429", type="insufficient_quota", message="Check billing.")])
    run = MemoryRun()
    with pytest.raises((anthropic.RateLimitError, openai.RateLimitError)):
        await perform(run, agent)
    assert run.only.states == ["failed"]
    assert sim.counts().started == 1
    assert time.slept == []


@each_agent
async def test_a_provider_that_cannot_be_reached_is_a_503_in_its_own_words(
    agent: Agent, capture: gateway.Capture, unused_tcp_port: int, time: FakeTime
) -> None:
    nowhere = f"http://127.0.0.1:{unused_tcp_port}"
    with redirect(dict.fromkeys(("api.anthropic.com", "api.openai.com"), nowhere)):
        run = MemoryRun()
        with pytest.raises(SERVER_ERRORS) as raised:
            await perform(run, agent)
    assert raised.value.status_code == 503
    assert "after 4 tries" in str(raised.value)
    assert "ConnectError" in str(raised.value)
    assert run.only.states == ["failed"]
    assert len(time.slept) == 3


@each_agent
async def test_what_perdure_refuses_is_an_answer_that_no_sdk_retries(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    run = MemoryRun()
    run.refusal = LoopGuard("over 100 model calls", hint="Raise the limit.")
    with pytest.raises(SERVER_ERRORS) as raised:
        await perform(run, agent)
    assert "over 100 model calls Raise the limit." in str(raised.value)
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert sim.counts().started == 0


async def test_retries_end_with_the_total(
    time: FakeTime, sim: ProviderSimulator, capture: gateway.Capture
) -> None:
    capture.retries = RetrySettings(RetryPolicy(attempts=100))
    sim.set_faults([Fault("429", retry_after=250)])
    run = MemoryRun()
    with pytest.raises(anthropic.RateLimitError):
        await perform(run, claude)
    # Ten minutes: two waits of 250 s, the third would start too late.
    assert len(time.slept) == 2
    assert run.only.states == ["failed"]


async def test_the_clients_own_timeout_counts_as_a_failed_try(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    sim.set_faults([Fault("hang", Match(nth=(1, 2, 3, 4)))])
    run = MemoryRun()
    async with anthropic.AsyncAnthropic(api_key=KEY, timeout=0.05) as client:
        with run.running(), pytest.raises(anthropic.InternalServerError) as raised:
            await client.messages.create(model="claude-x", max_tokens=50, **ASKED)
    assert raised.value.status_code == 504
    assert "ReadTimeout" in str(raised.value)
    assert run.only.states == ["failed"]


async def test_an_agent_that_gives_up_waiting_abandons_the_call(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    sim.hold()
    run = MemoryRun()
    with run.running():
        task = asyncio.create_task(claude())
    await sim.wait(held=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert run.only.states == ["abandoned"]


async def test_a_cancel_while_the_record_is_written_closes_only_once(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    run = MemoryRun()
    run.disk = asyncio.Event()
    with run.running():
        task = asyncio.create_task(claude())
    await run.writing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "abandoned" not in run.only.states


async def test_other_requests_pass_and_only_posts_are_counted(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    run = MemoryRun()
    async with anthropic.AsyncAnthropic(api_key=KEY, max_retries=0) as client:
        with run.running():
            with pytest.raises(anthropic.APIStatusError):
                await client.messages.count_tokens(model="claude-x", **ASKED)
            await client.models.list()
    assert run.tickets == []
    assert capture.unmetered == {"api.anthropic.com": 1}


class Strays:
    """Counts; refuses when ``strict``."""

    def __init__(self, strict: bool = False) -> None:
        self.hosts: list[str] = []
        self.strict = strict

    def stray(self, host: str) -> None:
        self.hosts.append(host)
        if self.strict:
            raise LoopGuard(f"no run calls {host}")


@each_agent
async def test_strays_are_counted_in_a_worker(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    capture.strays = strays = Strays()
    assert WORDS in await call(agent)
    assert len(strays.hosts) == 1


@each_agent
async def test_strays_are_refused_where_that_is_wanted(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    capture.strays = strays = Strays(strict=True)
    with pytest.raises((anthropic.APIStatusError, openai.APIStatusError), match="no run calls"):
        await call(agent)
    assert len(strays.hosts) == 1
    assert sim.counts().started == 0


class Zipped(httpx2.AsyncByteStream, httpx2.SyncByteStream):
    data = gzip.compress(orjson.dumps({"words": WORDS}))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.data[:9]
        yield self.data[9:]

    def __iter__(self) -> Iterator[bytes]:
        yield self.data


def zipped(request: httpx2.Request) -> httpx2.Response:
    headers = {"content-encoding": "gzip", "content-type": "application/json", "set-cookie": "s=1"}
    return httpx2.Response(200, headers=headers, stream=Zipped())


async def test_live_and_replayed_answers_are_equal_and_decoded() -> None:
    transport = gateway.AsyncTransport(httpx2.MockTransport(zipped))
    run = MemoryRun()
    async with httpx2.AsyncClient(transport=transport) as client:
        with run.running():
            live = await client.post("https://api.openai.com/v1/responses", json={"model": "m"})
        with run.again().running():
            again = await client.post("https://api.openai.com/v1/responses", json={"model": "m"})
    assert live.json() == again.json() == {"words": WORDS}
    assert live.headers == again.headers
    assert live.headers.get("content-encoding") is None
    assert live.headers.get("content-length") is None
    assert live.headers.get("set-cookie") is None
    assert live.elapsed
    assert again.elapsed


def test_the_same_for_synchronous_clients() -> None:
    transport = gateway.Transport(httpx2.MockTransport(zipped))
    run = MemoryRun()
    with httpx2.Client(transport=transport) as client:
        with run.running():
            live = client.post("https://api.openai.com/v1/responses", json={"model": "m"})
        with run.again().running():
            again = client.post("https://api.openai.com/v1/responses", json={"model": "m"})
    assert live.json() == again.json() == {"words": WORDS}
    assert live.headers == again.headers
    assert live.headers.get("content-encoding") is None


async def test_a_bug_below_is_recorded_as_a_failure_and_raised_alike() -> None:
    def broken(request: httpx2.Request) -> httpx2.Response:
        raise ZeroDivisionError("below")

    transport = gateway.AsyncTransport(httpx2.MockTransport(broken))
    run = MemoryRun()
    async with httpx2.AsyncClient(transport=transport) as client:
        for attempt in (0, 1):
            now = run.again() if attempt else run
            with now.running(), pytest.raises(ZeroDivisionError, match="below"):
                await client.post("https://api.openai.com/v1/responses", json={})
    assert run.only.states == ["failed"]


async def test_a_redirected_call_is_captured_where_it_arrives() -> None:
    def moved(request: httpx2.Request) -> httpx2.Response:
        if request.url.host == "api.openai.com":
            there = "https://eu.api.openai.com/v1/responses"
            return httpx2.Response(307, headers={"location": there})
        return httpx2.Response(200, json={})

    transport = gateway.AsyncTransport(httpx2.MockTransport(moved))
    run = MemoryRun()
    async with httpx2.AsyncClient(transport=transport, follow_redirects=True) as client:
        with run.running():
            answer = await client.post("https://api.openai.com/v1/responses", json={})
    assert answer.status_code == 200
    assert [ticket.states for ticket in run.tickets] == [["done"], ["done"]]


async def test_a_body_that_is_sent_in_pieces_is_read_once_and_sent_whole() -> None:
    seen = []

    async def receive(request: httpx2.Request) -> httpx2.Response:
        seen.append(await request.aread())
        return httpx2.Response(500 if len(seen) == 1 else 200, json={})

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"model":'
        yield b'"m"}'

    time = FakeTime()
    capture = gateway.Capture(sleep=time.sleep, clock=time.clock)
    transport = gateway.AsyncTransport(httpx2.MockTransport(receive), capture=capture)
    run = MemoryRun()
    async with httpx2.AsyncClient(transport=transport) as client:
        with run.running():
            await client.post("https://api.openai.com/v1/responses", content=pieces())
    assert seen == [b'{"model":"m"}'] * 2
    assert run.only.name == "openai/m"


async def test_a_request_that_cannot_be_sent_is_not_tried_again(time: FakeTime) -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.LocalProtocolError("Illegal header value")

    capture = gateway.Capture(sleep=time.sleep, clock=time.clock)
    transport = gateway.AsyncTransport(httpx2.MockTransport(refuse), capture=capture)
    run = MemoryRun()
    async with httpx2.AsyncClient(transport=transport) as client:
        with run.running():
            answer = await client.post("https://api.anthropic.com/v1/messages", json={})
    assert answer.status_code == 400
    assert "Illegal header value" in answer.text
    assert time.slept == []


async def test_a_changed_question_may_be_answered_but_not_in_another_language(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    run = MemoryRun()
    answer = await perform(run, claude)

    second = run.again()
    second.reuse = True
    async with anthropic.AsyncAnthropic(api_key=KEY) as client:
        with second.running():
            other = await client.messages.create(
                model="claude-y", max_tokens=5, messages=[{"role": "user", "content": "Else?"}]
            )
    assert other.to_json() == answer

    third = run.again()
    third.reuse = True
    with pytest.raises(openai.ConflictError, match=r"whole anthropic.messages .* openai.chat"):
        await perform(third, gpt)

    fourth = run.again()
    fourth.reuse = True
    async with anthropic.AsyncAnthropic(api_key=KEY) as client:
        with fourth.running(), pytest.raises(anthropic.ConflictError, match=r"whole .* streamed"):
            await client.messages.create(model="claude-x", max_tokens=50, stream=True, **ASKED)
    assert sim.counts().started == 1
