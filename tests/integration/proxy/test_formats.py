"""Unmodified SDKs before the proxy: each format, whole and streamed, with tools; what goes through
and what does not."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from perdure.testing.simulator import Fault, ProviderSimulator, Reply, script
from tests.integration.proxy.conftest import WORDS
from tests.integration.proxy.program import REAL, Gateway, settings

ASK: Any = [{"role": "user", "content": "Say something."}]
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture(scope="module")
def sim() -> Iterator[ProviderSimulator]:
    with ProviderSimulator(script([Reply(WORDS, chunk=8)])) as made:
        yield made


@pytest.fixture(autouse=True)
def afresh(sim: ProviderSimulator) -> Iterator[None]:
    yield
    sim.release()
    sim.reset()
    sim.set_faults([])


@pytest.fixture(scope="module")
def gateway(sim: ProviderSimulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("proxy")
    limits = 'max_body = 10000\nmax_headers = 40\nbody_timeout = "500ms"'
    with Gateway(folder, settings(sim, proxy=limits)) as begun:
        yield begun


def charges(gateway: Gateway) -> list[dict[str, Any]]:
    """The ledger, as it is in the file."""
    link = sqlite3.connect(gateway.store.removeprefix("sqlite:///"))
    link.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in link.execute("SELECT * FROM charges ORDER BY n")]
    finally:
        link.close()


async def charged(gateway: Gateway, count: int) -> list[dict[str, Any]]:
    """The ledger, once it has so many rows."""
    async with asyncio.timeout(10):
        while len(rows := charges(gateway)) < count:  # noqa: ASYNC110  # another process writes
            await asyncio.sleep(0.01)
    return rows


# -- the formats ----------------------------------------------------------------------------------


async def test_chat_whole(gateway: Gateway, sim: ProviderSimulator) -> None:
    before = len(charges(gateway))
    answer = await gateway.openai().chat.completions.create(model="gpt-5", messages=ASK)
    assert answer.choices[0].message.content == WORDS
    (row,) = (await charged(gateway, before + 1))[before:]
    assert (row["provider"], row["model"], row["source"]) == ("openai", "gpt-5", "sent")
    assert (row["credential"], row["agent"], row["run_id"]) == ("openai", "proxy", "")
    assert row["output"] == sim.accounting().total.output > 0
    assert row["cost"] > 0


async def test_chat_streamed_piece_by_piece(gateway: Gateway, sim: ProviderSimulator) -> None:
    """Nothing is gathered on the way: the first words are there while the provider still talks."""
    sim.set_faults([Fault("hang", after_chunks=3)])
    stream = await gateway.openai().chat.completions.create(
        model="gpt-5", messages=ASK, stream=True
    )
    said = ""
    async with asyncio.timeout(10):
        async for chunk in stream:
            said += chunk.choices[0].delta.content or ""
            if said:
                break
    assert WORDS.startswith(said)
    await stream.close()


async def test_chat_streamed_to_its_end(gateway: Gateway) -> None:
    """The usage that only we ask for is hidden; asked for, it is there."""
    client = gateway.openai()
    plain = await client.chat.completions.create(model="gpt-5", messages=ASK, stream=True)
    chunks = [chunk async for chunk in plain]
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == WORDS
    counted = await client.chat.completions.create(
        model="gpt-5", messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    last = [chunk async for chunk in counted][-1]
    assert last.usage is not None
    assert last.usage.completion_tokens > 0


async def test_responses(gateway: Gateway) -> None:
    client = gateway.openai()
    whole = await client.responses.create(model="gpt-5", input="Say something.")
    assert whole.output_text == WORDS
    async with client.responses.stream(model="gpt-5", input="Say something.") as stream:
        assert (await stream.get_final_response()).output_text == WORDS


async def test_messages(gateway: Gateway) -> None:
    client = gateway.anthropic()
    whole = await client.messages.create(model="claude-sonnet-5-5", max_tokens=99, messages=ASK)
    assert whole.content[0].text == WORDS  # type: ignore[union-attr]
    async with client.messages.stream(
        model="claude-sonnet-5-5", max_tokens=99, messages=ASK
    ) as stream:
        assert await stream.get_final_text() == WORDS


async def test_tools(tmp_path: Path) -> None:
    call = Reply(tools=[("weather", {"city": "Paris"})])
    with (
        ProviderSimulator(script([call])) as sim,
        Gateway(tmp_path, settings(sim)) as gateway,
    ):
        chat = await gateway.openai().chat.completions.create(
            model="gpt-5", messages=ASK, tools=[WEATHER]
        )
        assert chat.choices[0].message.tool_calls is not None
        asked: Any = chat.choices[0].message.tool_calls[0]
        assert (asked.function.name, json.loads(asked.function.arguments)) == (
            "weather", {"city": "Paris"},
        )  # fmt: skip
        tool: Any = {"name": "weather", "input_schema": {"type": "object"}}
        async with gateway.anthropic().messages.stream(
            model="claude-sonnet-5-5", max_tokens=99, messages=ASK, tools=[tool]
        ) as stream:
            message = await stream.get_final_message()
        block: Any = message.content[-1]
        assert (block.type, block.input) == ("tool_use", {"city": "Paris"})


async def test_models(gateway: Gateway) -> None:
    ours = [model.id async for model in gateway.openai().models.list()]
    theirs = [model.id async for model in gateway.anthropic().models.list()]
    assert ours == theirs == ["claude-simulated", "gpt-simulated"]
    one = await gateway.openai().models.retrieve("gpt-simulated")
    assert one.id == "gpt-simulated"
    with pytest.raises(openai.NotFoundError):
        await gateway.openai().models.retrieve("gpt-nobody")


# -- what goes through ----------------------------------------------------------------------------


async def test_the_provider_sees_its_own_key_and_nothing_of_ours(tmp_path: Path) -> None:
    """Credentials are set anew; what belongs to the connection or to us stays here."""
    seen: list[dict[str, str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append({k.decode(): v.decode() for k, v in scope["headers"]})
        body = json.dumps({"choices": [{"message": {"content": "x"}}]}).encode()
        kept = [(b"content-type", b"application/json"), (b"x-request-id", b"req-1")]
        lost = [(b"x-ratelimit-remaining-requests", b"3"), (b"set-cookie", b"a=b")]
        await send({"type": "http.response.start", "status": 200, "headers": [*kept, *lost]})
        await send({"type": "http.response.body", "body": body})

    async with _served(app) as url:
        text = f"""
[proxy.upstreams]
openai = "{url}/v1"
[keys.openai]
env = "REAL_KEY"
"""
        with Gateway(tmp_path, text) as gateway:
            async with httpx2.AsyncClient(base_url=gateway.url) as http:
                answer = await http.post(
                    "/v1/chat/completions?beta=true",
                    json={"model": "gpt-5", "messages": ASK},
                    headers={
                        "authorization": "Bearer dummy", "openai-organization": "theirs",
                        "perdure-feature": "search", "cookie": "a=b", "x-forwarded-for": "1.2.3.4",
                        "te": "trailers", "x-stainless-lang": "python", "connection": "x-mine",
                        "x-mine": "1",
                    },
                )  # fmt: skip
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-request-id"] == "req-1"
    assert not {"set-cookie", "x-ratelimit-remaining-requests"} & set(answer.headers)
    (headers,) = seen
    assert headers["authorization"] == f"Bearer {REAL}"
    assert headers["x-stainless-lang"] == "python"
    gone = {"openai-organization", "perdure-feature", "cookie", "x-forwarded-for", "te", "x-mine"}
    assert not gone & set(headers)


class _served:
    """An ASGI app at a port of its own."""

    def __init__(self, app: Any) -> None:
        import uvicorn

        self._server = uvicorn.Server(
            uvicorn.Config(app, port=0, lifespan="off", log_config=None, ws="none")
        )

    async def __aenter__(self) -> str:
        import socket

        sock = socket.create_server(("127.0.0.1", 0))
        self._task = asyncio.create_task(self._server._serve([sock]))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"

    async def __aexit__(self, *about: object) -> None:
        self._server.should_exit = True
        await self._task


async def test_what_is_no_model_call_is_refused(gateway: Gateway) -> None:
    async with httpx2.AsyncClient(base_url=gateway.url) as http:
        files = await http.post("/v1/files", content=b"x")
        assert files.status_code == 404
        assert "not among what the proxy passes on" in files.json()["error"]["message"]
        elsewhere = await http.post("/groq/v1/chat/completions", json={})
        assert elsewhere.status_code == 404
        assert "[proxy] upstreams" in elsewhere.json()["error"]["message"]
        batches = await http.post("/v1/messages/batches", json={})
        assert batches.json()["type"] == "error"  # in Anthropic's words


async def test_counting_tokens_is_free_and_goes_through(gateway: Gateway) -> None:
    before = len(charges(gateway))
    client = gateway.anthropic()
    with pytest.raises(anthropic.NotFoundError) as refused:  # the simulator does not know it
        await client.messages.count_tokens(model="claude-sonnet-5-5", messages=ASK)
    assert "perdure" not in str(refused.value)
    async with httpx2.AsyncClient(base_url=gateway.url) as http:
        metrics = (await http.get("/metrics")).text
    assert 'perdure_unmetered_calls_total{host="' in metrics
    assert len(charges(gateway)) == before


async def test_bounds_on_requests(gateway: Gateway) -> None:
    """Too large, too many headers, too slow: said in the provider's own format."""
    async with httpx2.AsyncClient(base_url=gateway.url) as http:
        large = await http.post("/v1/messages", content=b"x" * 10_001)
        assert large.status_code == 413
        assert large.json()["error"]["type"] == "request_too_large"
        many = {f"x-{i}": "1" for i in range(50)}
        headers = await http.post("/v1/chat/completions", json={}, headers=many)
        assert headers.status_code == 413
        assert headers.json()["error"]["type"] == "invalid_request_error"
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\n{")
    assert await reader.readline() == b"HTTP/1.1 408 Request Timeout\r\n"
    writer.close()
    await writer.wait_closed()


async def test_another_origin_is_refused(gateway: Gateway) -> None:
    """Without keys a web page must not reach it, neither by its own origin nor by rebinding."""
    async with httpx2.AsyncClient(base_url=gateway.url) as http:
        for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
            answer = await http.post("/v1/messages", json={}, headers=headers)
            assert answer.status_code == 403
            assert answer.json()["error"]["type"] == "permission_error"


# -- readers that go away -------------------------------------------------------------------------


async def test_a_stream_without_its_reader_is_pumped_to_its_end(
    gateway: Gateway, sim: ProviderSimulator
) -> None:
    """C8: what was paid for is in the ledger, to the token."""
    before = len(charges(gateway))
    sim.hold(after_chunks=3)
    client = gateway.openai()
    stream = await client.chat.completions.create(model="gpt-5", messages=ASK, stream=True)
    async for _ in stream:
        break
    await stream.close()
    await client.close()
    sim.release()
    (row,) = (await charged(gateway, before + 1))[before:]
    assert row["source"] == "sent"
    assert row["output"] == sim.accounting().total.output > 0


async def test_a_whole_answer_without_its_reader_is_charged(
    gateway: Gateway, sim: ProviderSimulator
) -> None:
    before = len(charges(gateway))
    sim.hold()
    asking = asyncio.create_task(
        gateway.openai().chat.completions.create(model="gpt-5", messages=ASK)
    )
    await sim.wait(held=1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    sim.release()
    (row,) = (await charged(gateway, before + 1))[before:]
    assert (row["source"], row["output"]) == ("sent", sim.accounting().total.output)


async def test_probes(gateway: Gateway) -> None:
    async with httpx2.AsyncClient(base_url=gateway.url) as http:
        assert (await http.get("/healthz")).text == "ok\n"
        ready = await http.get("/readyz")
        assert ready.json() == {"ready": True, "checks": {"store": "ok"}}
        assert "perdure_http_requests_total" in (await http.get("/metrics")).text


async def test_draining_lets_calls_end(tmp_path: Path) -> None:
    with (
        ProviderSimulator(script([Reply(WORDS)])) as sim,
        Gateway(tmp_path, settings(sim)) as gateway,
    ):
        sim.hold()
        asking = asyncio.create_task(
            gateway.anthropic().messages.create(
                model="claude-sonnet-5-5", max_tokens=99, messages=ASK
            )
        )
        await sim.wait(held=1)
        gateway.terminate()
        async with httpx2.AsyncClient(base_url=gateway.url) as http, asyncio.timeout(10):
            while (await http.get("/readyz")).status_code != 503:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        sim.release()
        answer = await asking
        assert answer.content[0].text == WORDS  # type: ignore[union-attr]
        assert await asyncio.to_thread(gateway.ended) == 0
