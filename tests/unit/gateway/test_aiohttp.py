"""aiohttp: plain sessions, and the SDKs that stand on it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import anthropic
import httpx2
import openai
import orjson
import pytest

from perdure import gateway
from perdure.errors import ConfigError
from perdure.gateway.late import AIOHTTP
from perdure.testing.redirect import redirect
from perdure.testing.simulator import Fault, Match, ProviderSimulator
from tests.unit.gateway.boundary import MemoryRun
from tests.unit.gateway.conftest import WORDS
from tests.unit.gateway.server import CountingServer
from tests.unit.gateway.time import FakeTime

URL = "https://api.anthropic.com/v1/messages"
KEY = "sk-secret-value"
ASKED: dict[str, Any] = {
    "model": "claude-x", "max_tokens": 50, "messages": [{"role": "user", "content": "Why tides?"}],
}  # fmt: skip
STREAMED = {**ASKED, "stream": True}


async def plain() -> str:
    async with aiohttp.ClientSession(headers={"x-api-key": KEY}) as session:
        answer = await session.post(URL, json=ASKED)
        assert answer.status == 200
        assert answer.ok
        return str((await answer.json())["content"][0]["text"])


async def plain_streamed() -> str:
    said = ""
    async with (
        aiohttp.ClientSession(headers={"x-api-key": KEY}) as session,
        session.post(URL, json=STREAMED) as answer,
    ):
        async for line in answer.content:
            if line.startswith(b"data:"):
                said += orjson.loads(line[5:]).get("delta", {}).get("text", "")
    return said


async def claude() -> str:
    client = anthropic.DefaultAioHttpClient()
    async with anthropic.AsyncAnthropic(api_key=KEY, http_client=client) as sdk:
        message: Any = await sdk.messages.create(**ASKED)
        return str(message.content[0].text)


async def claude_streamed() -> str:
    client = anthropic.DefaultAioHttpClient()
    async with (
        anthropic.AsyncAnthropic(api_key=KEY, http_client=client) as sdk,
        sdk.messages.stream(**ASKED) as stream,
    ):
        return "".join([text async for text in stream.text_stream])


async def gpt() -> str:
    client = openai.DefaultAioHttpClient()
    async with openai.AsyncOpenAI(api_key=KEY, http_client=client) as sdk:
        given: Any = ASKED["messages"]
        said = await sdk.chat.completions.create(model="gpt-x", messages=given)
        return said.choices[0].message.content or ""


AGENTS = [plain, plain_streamed, claude, claude_streamed, gpt]
each_agent = pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.__name__)
Agent = Callable[[], Awaitable[str]]


async def perform(run: MemoryRun, agent: Callable[[], Awaitable[Any]]) -> Any:
    with run.running():
        answer = await agent()
    await run.settle()
    return answer


@each_agent
async def test_a_call_is_recorded_and_replayed(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    run = MemoryRun()
    assert await perform(run, agent) == WORDS
    assert run.only.states == ["done"]
    assert b"Why tides?" in b"".join(run.only.request)
    second = run.again()
    assert await perform(second, agent) == WORDS
    assert second.tickets == []
    assert sim.counts().started == 1


@each_agent
async def test_nothing_secret_is_recorded(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    run = MemoryRun()
    await perform(run, agent)
    assert KEY.encode() not in run.only.value + b"".join(run.only.request)
    names = {name for name, _ in orjson.loads(run.only.value)["headers"]}
    assert names <= {"content-type", "request-id", "x-request-id"}


@each_agent
async def test_outside_any_run_nothing_is_touched(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    assert await agent() == WORDS
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
    assert await perform(run, agent) == WORDS
    assert [code for code, _ in run.only.warnings] == ["model_retry"] * 3
    assert time.slept[1] >= 7
    assert sim.counts().started == 4


@pytest.mark.parametrize("agent", [claude, claude_streamed, gpt])
async def test_an_sdk_does_not_retry_again(
    agent: Agent, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    sim.set_faults([Fault("500")])
    run = MemoryRun()
    for again in (False, True):
        with pytest.raises((anthropic.InternalServerError, openai.InternalServerError)):
            await perform(run.again() if again else run, agent)
    assert run.only.states == ["failed"]
    assert sim.counts().started == 4


async def test_nobody_there(capture: gateway.Capture) -> None:
    async def ask() -> tuple[int, str | None, str]:
        async with aiohttp.ClientSession() as session, session.post(URL, json=ASKED) as answer:
            return answer.status, answer.headers.get("x-should-retry"), await answer.text()

    # Port 1 is never listened on here.
    with redirect({"api.anthropic.com": "http://127.0.0.1:1"}):
        run = MemoryRun()
        status, told, words = await perform(run, ask)
    assert (status, told) == (503, "false")
    assert "ClientConnectorError" in words
    assert await perform(run.again(), ask) == (status, told, words)


async def test_a_time_limit_is_each_trys_own(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    sim.set_faults([Fault("hang", Match(nth=1))])

    async def impatient() -> int:
        limit = aiohttp.ClientTimeout(total=0.2)
        async with aiohttp.ClientSession(timeout=limit) as session:
            return (await session.post(URL, json=ASKED)).status

    run = MemoryRun()
    assert await perform(run, impatient) == 200
    assert "TimeoutError" in run.only.warnings[0][1]


async def test_what_came_before_a_break_is_read_before_it(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    sim.set_faults([Fault("break", after_chunks=5)])

    async def listen() -> tuple[bytes, str]:
        said = b""
        async with aiohttp.ClientSession() as session:
            answer = await session.post(URL, json=STREAMED)
            try:
                while piece := await answer.content.readany():
                    said += piece
            except aiohttp.ClientPayloadError as error:
                return said, str(error)
        return said, ""

    run = MemoryRun()
    said, error = await perform(run, listen)
    assert b"The moon" in said
    assert error
    assert run.only.states == ["failed"]
    assert await perform(run.again(), listen) == (said, error)


@pytest.mark.parametrize("verify", [True, False])
async def test_a_session_that_closes_early_loses_nothing(
    verify: bool, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    """Rule C8, for a shared connector and for one of the session's own."""
    sim.hold(after_chunks=4)

    async def hasty() -> None:
        connector = aiohttp.TCPConnector() if verify else aiohttp.TCPConnector(ssl=False)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(URL, json=STREAMED) as answer,
        ):
            assert await answer.content.readany()
        assert session.closed

    run = MemoryRun()
    with run.running():
        await hasty()
    await sim.wait(held=1)
    sim.release()
    await run.settle()
    assert run.only.states == ["done"]
    assert b"message_stop" in run.only.value
    assert await perform(run.again(), plain_streamed) == WORDS


async def test_the_end_is_told_when_the_record_is_durable(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    run = MemoryRun()
    run.disk = asyncio.Event()
    with run.running():
        listening = asyncio.create_task(plain_streamed())
        await run.writing.wait()
        assert not listening.done()
        run.disk.set()
        assert await listening == WORDS


# -- what aiohttp lets people give and ask for -------------------------------------------------


async def _pieces() -> AsyncIterator[bytes]:
    raw = orjson.dumps(ASKED)
    yield raw[:10]
    yield raw[10:]


BODIES: dict[str, Callable[[], dict[str, Any]]] = {
    "json": lambda: {"json": ASKED},
    "bytes": lambda: {"data": orjson.dumps(ASKED)},
    "str": lambda: {"data": orjson.dumps(ASKED).decode()},
    "pieces": lambda: {"data": _pieces()},
    "payload": lambda: {"data": aiohttp.payload.JsonPayload(ASKED)},
}


@pytest.mark.parametrize("kind", BODIES)
async def test_a_body_in_any_form_is_the_same_question(
    kind: str, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    async def ask(body: dict[str, Any]) -> Any:
        async with aiohttp.ClientSession() as session, session.post(URL, **body) as answer:
            return await answer.json()

    sim.set_faults([Fault("500", Match(nth=1))])  # so that it is sent twice
    run = MemoryRun()
    said = await perform(run, lambda: ask(BODIES[kind]()))
    assert await perform(run.again(), lambda: ask({"json": ASKED})) == said
    assert sim.counts().refused == 1


async def test_a_form_keeps_its_type(capture: gateway.Capture) -> None:
    form = aiohttp.FormData({"model": "whisper"})
    form.add_field("file", b"sound", filename="a.wav")
    async with CountingServer() as server, aiohttp.ClientSession() as session:
        with redirect({"api.openai.com": server.url}), MemoryRun().running():
            await session.post("https://api.openai.com/v1/audio/transcriptions", data=form)
        [sent] = server.requests
    assert b"multipart/form-data; boundary=" in sent
    assert b"sound" in sent
    assert b"Host: api.openai.com" in sent


async def test_a_dict_is_a_form(capture: gateway.Capture) -> None:
    async with CountingServer() as server, aiohttp.ClientSession() as session:
        with redirect({"api.openai.com": server.url}), MemoryRun().running():
            await session.post("https://api.openai.com/v1/embeddings", data={"model": "m"})
        [sent] = server.requests
    assert b"application/x-www-form-urlencoded" in sent
    assert sent.endswith(b"model=m")


async def test_headers_parameters_and_base_are_sent(capture: gateway.Capture) -> None:
    base = "https://api.openai.com/"
    given = {"headers": {"x-own": "1", "X-Both": "request"}, "params": {"api-version": "2"}}
    async with (
        CountingServer() as server,
        aiohttp.ClientSession(base, headers={"x-both": "session"}) as session,
    ):
        with redirect({"api.openai.com": server.url}), MemoryRun().running():
            answer = await session.post("v1/embeddings?a=b", json={}, **given)  # type: ignore[arg-type]
        [sent] = server.requests
    assert sent.startswith(b"POST /v1/embeddings?a=b&api-version=2 HTTP/1.1\r\n")
    assert b"x-own: 1" in sent
    assert sent.lower().count(b"x-both:") == 1
    assert str(answer.url) == "https://api.openai.com/v1/embeddings?a=b&api-version=2"
    assert answer.request_info.headers["x-both"] == "request"


@pytest.mark.parametrize("where", ["session", "request", "callable"])
async def test_raise_for_status_raises(
    where: str, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    sim.set_faults([Fault("400")])

    async def check(response: aiohttp.ClientResponse) -> None:
        response.raise_for_status()

    async def ask() -> None:
        async with aiohttp.ClientSession(raise_for_status=where == "session") as session:
            kind: Any = {"session": None, "request": True, "callable": check}[where]
            await session.post(URL, json=ASKED, raise_for_status=kind)

    run = MemoryRun()
    for again in (False, True):
        with pytest.raises(aiohttp.ClientResponseError, match="Bad Request"):
            await perform(run.again() if again else run, ask)
    assert run.only.states == ["failed"]


async def test_wrong_use_stays_aiohttps_to_refuse(capture: gateway.Capture) -> None:
    async def ask(**options: Any) -> None:
        async with aiohttp.ClientSession() as session:
            await session.post(URL, **options)

    run = MemoryRun()
    with pytest.raises(ValueError, match="same time"):
        await perform(run, lambda: ask(json={}, data=b"{}"))
    assert run.tickets == []


# -- what is captured ---------------------------------------------------------------------------


async def test_other_requests_pass(capture: gateway.Capture) -> None:
    async with CountingServer() as server, aiohttp.ClientSession() as session:
        with redirect({"api.anthropic.com": server.url}), MemoryRun().running() as run:
            await session.get(URL)
            await session.post("https://api.anthropic.com/v1/files", data=b"")
            await session.post(server.url + "/v1/orders", json={})
        assert len(server.requests) == 3
    assert run.tickets == []
    assert capture.unmetered == {"api.anthropic.com": 1}


@pytest.mark.parametrize("strict", [False, True])
async def test_outside_runs_it_is_a_stray(
    strict: bool, capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    hosts = []

    class Strays:
        def stray(self, host: str) -> None:
            hosts.append(host)
            if strict:
                raise ConfigError("No stray calls here.")

    capture.strays = Strays()
    async with aiohttp.ClientSession() as session, session.post(URL, json=ASKED) as answer:
        assert (answer.status == 200) is not strict
        assert ("No stray calls" in await answer.text()) is strict
    assert hosts == ["api.anthropic.com"]
    assert sim.counts().started == (0 if strict else 1)


async def test_an_explicit_transport_over_aiohttp_captures_once(
    capture: gateway.Capture, sim: ProviderSimulator
) -> None:
    from anthropic._vendor.httpx_aiohttp import AiohttpTransport

    async def ask() -> str:
        transport = gateway.AsyncTransport(AiohttpTransport())
        client = httpx2.AsyncClient(transport=transport)
        async with anthropic.AsyncAnthropic(api_key=KEY, http_client=client) as sdk:
            message: Any = await sdk.messages.create(**ASKED)
            return str(message.content[0].text)

    run = MemoryRun()
    assert await perform(run, ask) == WORDS
    assert run.only.states == ["done"]


# -- connections --------------------------------------------------------------------------------


async def _post(connector: Callable[[], aiohttp.TCPConnector | None], often: int = 10) -> None:
    for _ in range(often):
        async with (
            aiohttp.ClientSession(connector=connector()) as session,
            session.post("https://api.openai.com/v1/embeddings", json={}) as answer,
        ):
            await answer.read()


class _Same(aiohttp.TCPConnector):
    """As google-genai's: another name, the same behaviour."""

    def __del__(self, _warnings: Any = None) -> None:
        pass


class _Other(aiohttp.TCPConnector):
    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        return await super().connect(*args, **kwargs)


@pytest.mark.parametrize(
    ("connector", "connects"),
    [
        (lambda: None, 1),
        (lambda: aiohttp.TCPConnector(limit=0, keepalive_timeout=5), 1),
        (lambda: _Same(limit=0), 1),
        (lambda: aiohttp.TCPConnector(limit=2), 10),
        (lambda: aiohttp.TCPConnector(ssl=False), 10),
        (lambda: aiohttp.TCPConnector(local_addr=("127.0.0.1", 0)), 10),
        (_Other, 10),
    ],
    ids=["default", "many", "subclass", "few", "insecure", "bound", "other"],
)
async def test_plain_sessions_share_connections(
    connector: Any, connects: int, capture: gateway.Capture
) -> None:
    async with CountingServer() as server:
        with redirect({"api.openai.com": server.url}):
            with MemoryRun().running():
                await _post(connector)
            assert server.connects == connects
            await _post(connector, 3)  # outside runs everybody has their own
            assert server.connects == connects + 3


def test_shared_connections_end_with_their_loop(capture: gateway.Capture) -> None:
    async def main() -> None:
        async with CountingServer() as server:
            with redirect({"api.openai.com": server.url}), MemoryRun().running():
                await _post(lambda: None, 2)
            assert server.connects == 1

    # An open socket at the end would be a ResourceWarning, which is an error here.
    asyncio.run(main())
    asyncio.run(main())


# -- how it gets in and out ---------------------------------------------------------------------


async def test_it_is_taken_out_with_the_patch() -> None:
    cls = aiohttp.ClientSession
    before = (cls._request, cls.close, aiohttp.TCPConnector.__init__, aiohttp.BaseConnector.connect)
    gateway.install()
    gateway.install()
    assert cls._request is not before[0]
    gateway.uninstall()
    assert cls._request is not before[0]
    gateway.uninstall()
    after = (cls._request, cls.close, aiohttp.TCPConnector.__init__, aiohttp.BaseConnector.connect)
    assert after == before
    assert AIOHTTP.patch is None


_LATE = """
import sys
from perdure import gateway
gateway.install()
assert "aiohttp" not in sys.modules, "perdure imports aiohttp"
import aiohttp
assert hasattr(aiohttp.ClientSession._request, "__wrapped__"), "not captured"
assert "perdure" not in type(aiohttp.__loader__).__module__
assert "perdure" not in type(aiohttp.__spec__.loader).__module__
gateway.uninstall()
assert not hasattr(aiohttp.ClientSession._request, "__wrapped__"), "still captured"
assert not [finder for finder in sys.meta_path if "perdure" in type(finder).__module__]
"""


def test_who_imports_it_late_is_not_missed_and_who_does_not_pays_nothing() -> None:
    ended = subprocess.run([sys.executable, "-c", _LATE], capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
