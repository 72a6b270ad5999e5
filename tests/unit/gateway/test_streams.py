"""Streams through the real SDKs (rule C8), asynchronous and synchronous."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import orjson
import pytest

from perdure import gateway
from perdure.errors import LeaseLost
from perdure.testing.simulator import Fault, Match, ProviderSimulator
from tests.unit.gateway.boundary import MemoryRun
from tests.unit.gateway.conftest import WORDS, call
from tests.unit.gateway.time import FakeTime

ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Why tides?"}]}
Said = list[str]
Agent = Callable[[Said], Any]


async def claude(said: Said) -> None:
    async with (
        anthropic.AsyncAnthropic(api_key="k") as client,
        client.messages.stream(model="claude-x", max_tokens=50, **ASKED) as stream,
    ):
        async for text in stream.text_stream:
            said.append(text)
        assert (await stream.get_final_message()).stop_reason == "end_turn"


async def gpt(said: Said) -> None:
    async with openai.AsyncOpenAI(api_key="k") as client:
        async for chunk in await client.chat.completions.create(
            model="gpt-x", stream=True, **ASKED
        ):
            if chunk.choices and chunk.choices[0].delta.content:
                said.append(chunk.choices[0].delta.content)


async def responses(said: Said) -> None:
    async with (
        openai.AsyncOpenAI(api_key="k") as client,
        client.responses.stream(model="gpt-x", input="Why tides?") as stream,
    ):
        async for event in stream:
            if event.type == "response.output_text.delta":
                said.append(event.delta)
            elif event.type == "error":  # this SDK leaves it to its user
                raise openai.APIError(event.message, stream._response.request, body=None)
        await stream.get_final_response()


def claude_blocking(said: Said) -> None:
    with (
        anthropic.Anthropic(api_key="k") as client,
        client.messages.stream(model="claude-x", max_tokens=50, **ASKED) as stream,
    ):
        said.extend(stream.text_stream)
        assert stream.get_final_message().stop_reason == "end_turn"


def gpt_blocking(said: Said) -> None:
    with openai.OpenAI(api_key="k") as client:
        for chunk in client.chat.completions.create(model="gpt-x", stream=True, **ASKED):
            if chunk.choices and chunk.choices[0].delta.content:
                said.append(chunk.choices[0].delta.content)


AGENTS = [claude, gpt, responses, claude_blocking, gpt_blocking]
each_agent = pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.__name__)
# SDKs of before this summer are on httpx.
BROKEN = (
    httpx2.RemoteProtocolError, httpx.RemoteProtocolError, openai.APIConnectionError,
)  # fmt: skip


async def perform(run: MemoryRun, agent: Agent) -> str:
    """What the agent heard until the end, or until an error."""
    said: Said = []
    try:
        with run.running():
            await call(agent, said)
    finally:
        await run.settle()
    return "".join(said)


def body(run: MemoryRun) -> str:
    text: str = orjson.loads(run.only.value)["body"]
    return text


@each_agent
async def test_a_stream_is_recorded_and_replayed(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    run = MemoryRun()
    assert await perform(run, agent) == WORDS
    assert run.only.streamed
    assert run.only.states == ["done"]
    assert "".join(run.only.deltas) == WORDS

    second = run.again()
    assert await perform(second, agent) == WORDS
    assert second.tickets == []
    assert sim.counts().started == 1


@each_agent
async def test_it_arrives_piece_by_piece(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    sim.hold(after_chunks=5)
    run = MemoryRun()
    first = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Listener(Said):
        def append(self, text: str) -> None:
            super().append(text)
            loop.call_soon_threadsafe(first.set)

        def extend(self, texts: Any) -> None:
            for text in texts:
                self.append(text)

    said = Listener()
    with run.running():
        task = asyncio.create_task(call(agent, said))
    await first.wait()
    assert run.only.states == []
    sim.release()
    await task
    await run.settle()
    assert "".join(said) == WORDS


@each_agent
async def test_broken_before_the_first_piece_it_is_tried_again(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator, time: FakeTime
) -> None:
    sim.set_faults(
        [
            Fault("drop", Match(nth=1)),
            Fault("break", Match(nth=2), after_chunks=1),
            Fault("error", Match(nth=3), after_chunks=1),
        ]
    )
    run = MemoryRun()
    assert await perform(run, agent) == WORDS
    assert run.only.states == ["done"]
    assert "".join(run.only.deltas) == WORDS
    assert len(time.slept) == 3
    assert sim.counts().started == 4


@each_agent
async def test_broken_later_it_fails_and_replays_alike(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator, time: FakeTime
) -> None:
    sim.set_faults([Fault("break", after_chunks=7)])
    run = MemoryRun()
    heard: list[Said] = []
    errors = []
    for attempt in (run, run.again):
        said: Said = []
        heard.append(said)
        now = attempt() if callable(attempt) else attempt
        with now.running(), pytest.raises(BROKEN) as raised:
            await call(agent, said)
        await now.settle()
        errors.append(raised.value)
    assert heard[0] == heard[1]
    assert 0 < len("".join(heard[0])) < len(WORDS)
    assert type(errors[0]) is type(errors[1])
    assert run.only.states == ["failed"]
    assert sim.counts().started == 1
    assert time.slept == []


@each_agent
async def test_an_error_inside_the_stream_is_a_failed_answer(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    sim.set_faults([Fault("error", after_chunks=7, message="Overloaded here")])
    run = MemoryRun()
    for attempt in (run, run.again):
        with pytest.raises((anthropic.APIError, openai.APIError), match="Overloaded here"):
            await perform(attempt() if callable(attempt) else attempt, agent)
    assert run.only.states == ["failed"]
    assert "breach" not in orjson.loads(run.only.value)
    assert sim.counts().started == 1


@each_agent
async def test_errors_before_the_first_piece_are_final_in_the_end(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    sim.set_faults([Fault("error", after_chunks=1, message="Overloaded here")])
    run = MemoryRun()
    for attempt in (run, run.again):
        with pytest.raises((anthropic.APIError, openai.APIError), match="Overloaded here"):
            await perform(attempt() if callable(attempt) else attempt, agent)
    assert run.only.states == ["failed"]
    assert sim.counts().started == 4


@each_agent
async def test_a_refused_stream_is_a_plain_error(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    sim.set_faults([Fault("400", message="No such thing")])
    run = MemoryRun()
    for attempt in (run, run.again):
        with pytest.raises(
            (anthropic.BadRequestError, openai.BadRequestError), match="No such thing"
        ):
            await perform(attempt() if callable(attempt) else attempt, agent)
    assert run.only.states == ["failed"]
    assert sim.counts().started == 1


async def test_the_end_comes_after_the_record_is_durable(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    for agent in (claude, gpt, responses):
        run = MemoryRun()
        run.disk = asyncio.Event()
        said: Said = []
        with run.running():
            task = asyncio.create_task(agent(said))
        await run.writing.wait()
        for _ in range(50):  # as far as the consumer gets without the record
            await asyncio.sleep(0)
        assert not task.done()
        run.disk.set()
        await task
        assert "".join(said) == WORDS
        await run.settle()
        assert run.only.states == ["done"]


async def test_who_stops_at_the_last_event_cannot_get_ahead_of_the_record(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    run = MemoryRun()
    run.disk = asyncio.Event()
    seen: list[str] = []

    async def impatient() -> None:
        async with anthropic.AsyncAnthropic(api_key="k") as client:
            stream = await client.messages.create(
                model="claude-x", max_tokens=50, stream=True, **ASKED
            )
            async for event in stream:
                seen.append(event.type)
                if event.type == "message_stop":
                    return

    with run.running():
        task = asyncio.create_task(impatient())
    await run.writing.wait()
    for _ in range(50):
        await asyncio.sleep(0)
    assert "message_stop" not in seen
    run.disk.set()
    await task
    await run.settle()


async def test_who_breaks_off_early_loses_nothing(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    sim.hold(after_chunks=6)
    run = MemoryRun()
    with run.running():
        async with (
            anthropic.AsyncAnthropic(api_key="k") as client,
            client.messages.stream(model="claude-x", max_tokens=50, **ASKED) as stream,
        ):
            async for _ in stream.text_stream:
                break
    assert run.only.states == []
    sim.release()
    await run.settle()
    assert run.only.states == ["done"]
    assert "message_stop" in body(run)
    assert await perform(run.again(), claude) == WORDS


async def test_who_breaks_off_early_loses_nothing_in_a_thread(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    sim.hold(after_chunks=6)
    run = MemoryRun()

    def agent() -> None:
        with (
            anthropic.Anthropic(api_key="k") as client,
            client.messages.stream(model="claude-x", max_tokens=50, **ASKED) as stream,
        ):
            next(iter(stream.text_stream))

    with run.running():
        await asyncio.to_thread(agent)
    assert run.only.states == []
    sim.release()
    await run.settle()
    assert run.only.states == ["done"]
    assert "message_stop" in body(run)


async def test_a_cancelled_consumer_loses_nothing(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    sim.hold(after_chunks=6)
    run = MemoryRun()
    with run.running():
        task = asyncio.create_task(claude([]))
    await run.speaking.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    sim.release()
    await run.settle()
    assert run.only.states == ["done"]


async def test_who_never_reads_blocks_nobody(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    run = MemoryRun()
    async with openai.AsyncOpenAI(api_key="k") as client:
        with run.running():
            stream = await client.chat.completions.create(model="gpt-x", stream=True, **ASKED)
        await run.settle()
        assert run.only.states == ["done"]
        await stream.close()


async def test_given_up_before_the_first_piece_it_is_abandoned(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    sim.hold(after_chunks=1)
    run = MemoryRun()
    with run.running():
        task = asyncio.create_task(claude([]))
    await sim.wait(held=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert run.only.states == ["abandoned"]
    assert run.pumps == []


async def test_a_stream_that_nobody_could_record_has_no_end(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    for agent in (claude, claude_blocking):
        run = MemoryRun()
        run.lost = LeaseLost("another worker owns this run")
        with pytest.raises(LeaseLost):
            await perform(run, agent)
        assert run.only.states == []


async def test_a_cut_attempt_leaves_no_consumer_waiting(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    sim.hold(after_chunks=6)
    run = MemoryRun()
    with run.running():
        task = asyncio.create_task(claude([]))
    await run.speaking.wait()
    [pump] = run.pumps
    assert isinstance(pump, asyncio.Task)
    pump.cancel()
    with pytest.raises((httpx2.ReadError, httpx.ReadError), match="attempt"):
        await task
    assert run.only.states == ["abandoned"]


class Stream(httpx2.AsyncByteStream, httpx2.SyncByteStream):
    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + orjson.dumps({"choices": [choice]}) + b"\n\n"


async def fetch(run: MemoryRun, *pieces: bytes | Exception, kind: str = "text/event-stream") -> Any:
    """The outcome of a chat stream that is made of ``pieces``: its body, or how it broke."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": kind}, stream=Stream(*pieces))

    time = FakeTime()
    capture = gateway.Capture(sleep=time.sleep, clock=time.clock)
    transport = gateway.AsyncTransport(httpx2.MockTransport(answer), capture=capture)
    url, asked = "https://api.openai.com/v1/chat/completions", {"model": "m", "stream": True}
    async with httpx2.AsyncClient(transport=transport) as client:
        with run.running():
            try:
                response = await client.post(url, json=asked)
            except httpx2.TransportError as error:
                return type(error).__name__
            finally:
                await run.settle()
        return response.status_code, response.content


A, B = chunk({"content": "a"}), chunk({"content": "b"})
FINISH, DONE = chunk({}, "stop"), b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("pieces", "outcome"),
    [
        ((A, B, FINISH, DONE), (200, A + B + FINISH + DONE)),
        # Not all providers send [DONE]; a finish reason and a clean end is an end too.
        ((A, B, FINISH), (200, A + B + FINISH)),
        ((FINISH,), (200, FINISH)),
        # What comes after the last event does not matter.
        ((A, DONE, httpx2.ReadError("reset")), (200, A + DONE)),
        # A connection that ends cleanly in the middle is a broken stream.
        ((A, B), "RemoteProtocolError"),
        ((A, FINISH, httpx2.ReadError("reset")), "ReadError"),
        ((A, httpx2.ReadTimeout("slow")), "ReadTimeout"),
        ((A, B[:-1]), "RemoteProtocolError"),
    ],
)
async def test_when_a_stream_is_whole(pieces: tuple[bytes | Exception, ...], outcome: Any) -> None:
    run = MemoryRun()
    assert await fetch(run, *pieces) == outcome
    assert run.only.states == ["failed" if isinstance(outcome, str) else "done"]
    assert await fetch(run.again()) == outcome


async def test_a_stream_that_never_begins_is_a_502() -> None:
    run = MemoryRun()
    status, body = await fetch(run, chunk({"role": "assistant", "content": ""}))
    assert status == 502
    assert "ended before its last event" in body.decode()
    assert run.only.states == ["failed"]
    assert len(run.only.warnings) == 3


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (
            "https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/converse-stream",
            "application/vnd.amazon.eventstream",
        ),
        ("https://api.cohere.com/v1/chat", "application/stream+json"),
    ],
)
async def test_streams_that_are_not_understood_are_passed_on_as_they_are(
    url: str, kind: str
) -> None:
    run = MemoryRun()
    data = b"\x00\xff binary, and no message"
    headers = {"content-type": kind}

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=headers, stream=Stream(data[:3], data[3:]))

    transport = gateway.AsyncTransport(httpx2.MockTransport(answer))
    async with httpx2.AsyncClient(transport=transport) as client:
        with run.running():
            assert (await client.post(url, json={"stream": True})).content == data
        await run.settle()
        with run.again().running():
            assert (await client.post(url, json={"stream": True})).content == data
    assert run.only.states == ["done"]
    assert len(run.pumps) == 1


async def test_a_whole_answer_to_who_asked_for_a_stream() -> None:
    run = MemoryRun()
    assert await fetch(run, b'{"whole": 1}', kind="application/json") == (200, b'{"whole": 1}')
    assert run.only.states == ["done"]
    assert run.pumps == []
