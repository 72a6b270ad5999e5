"""The in-memory transports answer as the server does."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest

from perdure.testing.scripted import ScriptedProvider
from perdure.testing.simulator import Call, Fault, ProviderSimulator, Reply, echo, script

ASK: Any = [{"role": "user", "content": "in memory " * 10}]
WORDS = ASK[0]["content"]
BODY = {"model": "m", "messages": ASK, "max_tokens": 9}
URL = "https://api.anthropic.com/v1/messages"


def claude_on(provider: ScriptedProvider, **options: Any) -> anthropic.AsyncAnthropic:
    http = httpx2.AsyncClient(transport=provider.transport())
    return anthropic.AsyncAnthropic(http_client=http, api_key="any", max_retries=0, **options)


async def test_async_sdks_over_official_urls() -> None:
    provider = ScriptedProvider(script([Reply("Hello there.", [("t", {"a": 1})])]))
    async with (
        claude_on(provider) as claude,
        claude.messages.stream(model="m", max_tokens=9, messages=ASK) as stream,
    ):
        message = await stream.get_final_message()
    assert [block.type for block in message.content] == ["text", "tool_use"]
    http = httpx2.AsyncClient(transport=provider.transport())
    async with openai.AsyncOpenAI(http_client=http, api_key="any") as gpt:
        answer = await gpt.responses.create(model="m", input="q")
        assert answer.output_text == "Hello there."
    assert [row.status for row in provider.calls()] == ["answered", "answered"]


def test_sync_sdks_and_an_async_brain() -> None:
    async def thinker(call: Call) -> Reply:
        await asyncio.sleep(0)
        return Reply(call.prompt)

    provider = ScriptedProvider(thinker)
    http = httpx2.Client(transport=provider.sync_transport())
    with (
        openai.OpenAI(http_client=http, api_key="any") as gpt,
        gpt.chat.completions.stream(model="m", messages=ASK) as stream,
    ):
        assert stream.get_final_completion().choices[0].message.content == WORDS
    assert provider.counts().answered == 1


async def test_a_sync_client_with_an_async_brain_under_a_running_loop() -> None:
    async def thinker(call: Call) -> Reply:
        return Reply("thought")

    with httpx2.Client(transport=ScriptedProvider(thinker).sync_transport()) as client:
        assert client.post(URL, json=BODY).json()["content"][0]["text"] == "thought"


def test_httpx_is_served_by_its_own_classes() -> None:
    provider = ScriptedProvider()

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=provider.httpx_transport()) as client:
            return await client.post(URL, json=BODY)

    with httpx.Client(transport=provider.httpx_sync_transport()) as client:
        sync = client.post(URL, json=BODY)
    assert sync.json()["content"] == asyncio.run(ask()).json()["content"]
    assert provider.counts().repeated


async def test_the_wire_is_the_servers_to_the_byte() -> None:
    body = {**BODY, "stream": True}
    provider = ScriptedProvider()
    async with httpx2.AsyncClient(transport=provider.transport()) as client:
        memory = await client.post(URL, json=body)
    async with ProviderSimulator() as sim, httpx2.AsyncClient() as client:
        served = await client.post(f"{sim.url}/v1/messages", json=body)
    assert memory.content == served.content
    assert memory.headers.items() <= served.headers.items()


async def test_other_paths_are_not_found() -> None:
    async with httpx2.AsyncClient(transport=ScriptedProvider().transport()) as client:
        assert (await client.get(URL)).status_code == 404
    with httpx2.Client(transport=ScriptedProvider().sync_transport()) as client_:
        assert client_.post("https://example.org/", json={}).status_code == 404


FAULTS = [
    (Fault("529"), anthropic.OverloadedError, anthropic.OverloadedError, "refused"),
    (Fault("drop"), anthropic.APIConnectionError, anthropic.APIConnectionError, "broken"),
    (Fault("break"), anthropic.APIConnectionError, httpx2.RemoteProtocolError, "broken"),
    (Fault("hang"), anthropic.APITimeoutError, anthropic.APITimeoutError, "aborted"),
    (Fault("slow", delay=3600.0), anthropic.APITimeoutError, httpx2.ReadTimeout, "aborted"),
    (Fault("hang", after_chunks=2), anthropic.APITimeoutError, httpx2.ReadTimeout, "aborted"),
]


@pytest.mark.parametrize(("fault", "error", "in_stream", "status"), FAULTS)
async def test_faults_look_as_over_a_socket(
    fault: Fault, error: type[Exception], in_stream: type[Exception], status: str
) -> None:
    provider = ScriptedProvider(echo, [fault])
    async with claude_on(provider, timeout=0.02) as claude:
        with pytest.raises(error):
            await claude.messages.create(model="m", max_tokens=9, messages=ASK)
        with pytest.raises(in_stream):
            async for _ in await claude.messages.create(
                model="m", max_tokens=9, messages=ASK, stream=True
            ):
                pass
    http = httpx2.Client(transport=provider.sync_transport())
    with anthropic.Anthropic(http_client=http, api_key="any", max_retries=0, timeout=0.02) as sync:
        with pytest.raises(error):
            sync.messages.create(model="m", max_tokens=9, messages=ASK)
        with pytest.raises(in_stream):
            list(sync.messages.create(model="m", max_tokens=9, messages=ASK, stream=True))
    assert [row.status for row in provider.calls()] == [status] * 4


async def test_slow_within_the_clients_patience() -> None:
    provider = ScriptedProvider(echo, [Fault("slow", delay=0.001)])
    async with claude_on(provider) as claude:
        await claude.messages.create(model="m", max_tokens=9, messages=ASK)
    with httpx2.Client(transport=provider.sync_transport()) as client:
        assert client.post(URL, json=BODY).status_code == 200
    assert provider.counts().answered == 2


async def test_hold_and_release() -> None:
    provider = ScriptedProvider()
    provider.hold()
    async with claude_on(provider) as claude:
        task = asyncio.create_task(claude.messages.create(model="m", max_tokens=9, messages=ASK))
        await provider.wait(held=1)
        provider.release()
        await task
    provider.hold()
    with httpx2.Client(transport=provider.sync_transport()) as client:
        thread = threading.Thread(target=client.post, args=(URL,), kwargs={"json": BODY})
        thread.start()
        await asyncio.to_thread(provider.wait_sync, held=1)
        provider.release()
        await asyncio.to_thread(thread.join)
        provider.hold()
        with pytest.raises(httpx2.ReadTimeout):
            client.post(URL, json=BODY, timeout=0.01)
    counts = provider.counts()
    assert (counts.answered, counts.aborted, counts.held) == (2, 1, 0)


async def test_a_consumer_that_breaks_off_and_one_that_is_cancelled_abort() -> None:
    provider = ScriptedProvider(lambda call: Reply(WORDS, pace=0.001))
    async with claude_on(provider) as claude:
        stream = await claude.messages.create(model="m", max_tokens=9, messages=ASK, stream=True)
        await anext(stream)
        await stream.close()
        provider.hold()
        task = asyncio.create_task(claude.messages.create(model="m", max_tokens=9, messages=ASK))
        await provider.wait(held=1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert provider.counts().aborted == 2
    assert provider.counts().held == 0
