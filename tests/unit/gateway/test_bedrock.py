"""Bedrock through the real boto3 at its official address, redirected below botocore to a local
server; the credentials are made up."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, TypeVar

import anthropic
import boto3
import botocore.endpoint
import botocore.httpsession
import orjson
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from perdure import gateway
from perdure.errors import ConfigError
from perdure.gateway.late import BOTOCORE
from perdure.testing.redirect import redirect
from tests.unit.gateway.bedrock import BedrockServer, chunks, converse, exception
from tests.unit.gateway.boundary import MemoryRun
from tests.unit.gateway.time import FakeTime

T = TypeVar("T")
HOST = "bedrock-runtime.us-east-1.amazonaws.com"
MODEL = "anthropic.claude-x-v1:0"
SECRET = "wJalrXUtnFEMI-secret"
WORDS = ["The moon ", "pulls ", "at the sea."]
ASKED: list[dict[str, Any]] = [{"role": "user", "content": [{"text": "Why tides?"}]}]
WHOLE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "".join(WORDS)}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3},
    "metrics": {"latencyMs": 5},
}


SESSION = boto3.Session("AKIA-key", SECRET, region_name="us-east-1")


def client(**config: Any) -> Any:
    return SESSION.client("bedrock-runtime", config=Config(**config))


def ask() -> Any:
    return client().converse(modelId=MODEL, messages=ASKED)["output"]["message"]["content"]


def ask_streamed() -> list[Any]:
    return list(client().converse_stream(modelId=MODEL, messages=ASKED)["stream"])


def invoke() -> Any:
    body = orjson.dumps({"anthropic_version": "bedrock-2023-05-31", "messages": ASKED})
    answer = client().invoke_model(modelId=MODEL, body=body)
    return orjson.loads(answer["body"].read())


def invoke_streamed() -> list[Any]:
    answer = client().invoke_model_with_response_stream(modelId=MODEL, body=b'{"messages":[]}')
    return [orjson.loads(one["chunk"]["bytes"]) for one in answer["body"]]


MAKERS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {}},
    *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
      for word in WORDS),
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 1}},
]  # fmt: skip
AGENTS: dict[str, tuple[Callable[[], Any], Any]] = {
    "converse": (ask, WHOLE),
    "converse_stream": (ask_streamed, converse(WORDS)),
    "invoke_model": (invoke, {"type": "message", "content": [{"text": "Tides."}]}),
    "invoke_stream": (invoke_streamed, chunks(*MAKERS)),
}
each_way = pytest.mark.parametrize("kind", AGENTS)


@contextmanager
def serving(*answers: Any) -> Any:
    with BedrockServer(*answers) as server, redirect({HOST: server.url}):
        yield server


async def perform(run: MemoryRun, agent: Callable[[], T]) -> T:
    """In a thread, as a worker runs synchronous agents."""
    with run.running():
        answer = await asyncio.to_thread(agent)
    await run.settle()
    return answer


@each_way
async def test_a_call_is_recorded_and_replayed(kind: str, capture: gateway.Capture) -> None:
    agent, given = AGENTS[kind]
    run = MemoryRun()
    with serving((200, {}, given)) as server:
        answer = await perform(run, agent)
        assert run.only.states == ["done"]
        assert run.only.name == f"bedrock/{MODEL}"
        second = run.again()
        assert await perform(second, agent) == answer
        assert second.tickets == []
        assert len(server.requests) == 1
        [(path, headers, body)] = server.requests
    assert path.startswith(f"/model/{MODEL}/")
    assert "AWS4-HMAC-SHA256" in headers["authorization"]
    assert "messages" in body


@each_way
async def test_nothing_secret_is_recorded(kind: str, capture: gateway.Capture) -> None:
    agent, given = AGENTS[kind]
    run = MemoryRun()
    with serving((200, {}, given)):
        await perform(run, agent)
    kept = run.only.value + b"".join(run.only.request)
    for secret in (SECRET, "AKIA", "Signature"):
        assert secret.encode() not in kept


@pytest.mark.parametrize("kind", ["converse_stream", "invoke_stream"])
async def test_the_words_of_a_stream_are_told(kind: str, capture: gateway.Capture) -> None:
    agent, given = AGENTS[kind]
    run = MemoryRun()
    with serving((200, {}, given)):
        await perform(run, agent)
    assert "".join(run.only.deltas) == "".join(WORDS)


@each_way
async def test_outside_any_run_nothing_is_touched(kind: str, capture: gateway.Capture) -> None:
    agent, given = AGENTS[kind]
    with serving((200, {}, given)) as server:
        assert await asyncio.to_thread(agent)
        assert len(server.requests) == 1


@each_way
async def test_passing_errors_are_retried_by_the_gateway_alone(
    kind: str, capture: gateway.Capture, time: FakeTime
) -> None:
    agent, given = AGENTS[kind]
    throttled = (429, {"x-amzn-errortype": "ThrottlingException"}, {"message": "Slow down."})
    run = MemoryRun()
    with serving(throttled, (503, {}, {"message": "Soon."}), (200, {}, given)) as server:
        assert await perform(run, agent)
        assert len(server.requests) == 3
    assert [code for code, _ in run.only.warnings] == ["model_retry"] * 2
    assert len(time.slept) == 2


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
async def test_botocore_does_not_retry_again(mode: str, capture: gateway.Capture) -> None:
    def stubborn() -> Any:
        asked = client(retries={"mode": mode, "max_attempts": 5})
        return asked.converse(modelId=MODEL, messages=ASKED)

    throttled = (429, {"x-amzn-errortype": "ThrottlingException"}, {"message": "Slow down."})
    run = MemoryRun()
    with serving(throttled) as server:
        for again in (False, True):
            with pytest.raises(ClientError, match="Slow down") as raised:
                await perform(run.again() if again else run, stubborn)
            assert raised.value.response["Error"]["Code"] == "ThrottlingException"
        assert len(server.requests) == 4
    assert run.only.states == ["failed"]


async def test_other_errors_of_aws_are_still_botocores_to_retry(capture: gateway.Capture) -> None:
    """Only what the gateway has given up is final."""

    def listing() -> Any:
        db = SESSION.client("dynamodb", config=Config(retries={"max_attempts": 1}))
        return db.list_tables()

    run = MemoryRun()
    with (
        BedrockServer((500, {}, {}), (200, {}, {"TableNames": []})) as server,
        redirect({"dynamodb.us-east-1.amazonaws.com": server.url}),
    ):
        assert (await perform(run, listing))["TableNames"] == []
        assert len(server.requests) == 2
    assert run.tickets == []


async def test_nobody_there(capture: gateway.Capture) -> None:
    run = MemoryRun()
    with redirect({HOST: "http://127.0.0.1:1"}):
        for again in (False, True):
            with pytest.raises(ClientError, match="no answer from bedrock-runtime") as raised:
                await perform(run.again() if again else run, ask)
            assert raised.value.response["Error"]["Code"] == "ServiceUnavailableException"
    assert "EndpointConnectionError" in run.only.value.decode()


async def test_an_exception_within_a_stream(capture: gateway.Capture) -> None:
    broken = [*converse(WORDS)[:3], exception("modelStreamErrorException", "It broke.")]
    run = MemoryRun()
    with serving((200, {}, broken)) as server:
        for again in (False, True):
            with pytest.raises(Exception, match="It broke"):
                await perform(run.again() if again else run, ask_streamed)
        assert len(server.requests) == 1
    assert run.only.states == ["failed"]


async def test_an_exception_before_the_first_word_is_retried(capture: gateway.Capture) -> None:
    busy = [exception("throttlingException", "Slow down.")]
    run = MemoryRun()
    with serving((200, {}, busy), (200, {}, converse(WORDS))) as server:
        assert len(await perform(run, ask_streamed)) == 7
        assert len(server.requests) == 2


async def test_a_stream_that_ends_early_is_broken(capture: gateway.Capture) -> None:
    run = MemoryRun()

    def listen() -> tuple[list[Any], str]:
        heard = []
        try:
            for one in client().converse_stream(modelId=MODEL, messages=ASKED)["stream"]:
                heard.append(one)
        except Exception as error:
            return heard, type(error).__name__
        return heard, ""

    with serving((200, {}, converse(WORDS)[:3])) as server:
        server.cut = True
        heard, error = await perform(run, listen)
        assert len(heard) == 3
        assert error == "ProtocolError"
        assert await perform(run.again(), listen) == (heard, error)
    assert run.only.states == ["failed"]


async def test_a_consumer_that_breaks_off_loses_nothing(capture: gateway.Capture) -> None:
    """Rule C8."""

    def hasty() -> Any:
        asked = client()
        stream = asked.converse_stream(modelId=MODEL, messages=ASKED)["stream"]
        first = next(iter(stream))
        stream.close()
        asked.close()
        return first

    run = MemoryRun()
    with serving((200, {}, converse(WORDS))) as server:
        server.go.clear()
        with run.running():
            first = await asyncio.to_thread(hasty)
        server.go.set()
        await run.settle()
        assert first == {"messageStart": {"role": "assistant"}}
        assert run.only.states == ["done"]
        assert len(await perform(run.again(), ask_streamed)) == 7


async def test_a_body_can_be_read_in_any_way(capture: gateway.Capture) -> None:
    def pieces(take: Callable[[Any], Any]) -> Any:
        body = client().invoke_model(modelId=MODEL, body=io.BytesIO(b"{}"))["body"]
        with body:
            return take(body)

    run = MemoryRun()
    with serving((500, {}, {}), (200, {}, {"lines": "a"})):
        whole = await perform(run, lambda: pieces(lambda body: body.read()))
        ways: list[Callable[[Any], Any]] = [
            lambda body: body.read(3) + body.read(),
            lambda body: b"".join(body.iter_chunks(2)),
            lambda body: b"".join(body.iter_lines()),
            lambda body: b"".join(body),
        ]
        for way in ways:
            assert await perform(run.again(), lambda way=way: pieces(way)) == whole  # type: ignore[misc]


async def test_a_model_may_be_named_by_its_arn(capture: gateway.Capture) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-x"
    run = MemoryRun()
    with serving((200, {}, WHOLE)):
        await perform(run, lambda: client().converse(modelId=arn, messages=ASKED))
    assert run.only.name == f"bedrock/{arn}"


async def test_a_client_made_before_the_patch_is_captured() -> None:
    early = client()
    run = MemoryRun()
    gateway.install()
    try:
        with serving((200, {}, WHOLE)):
            await perform(run, lambda: early.converse(modelId=MODEL, messages=ASKED))
    finally:
        gateway.uninstall()
    assert run.only.states == ["done"]


async def test_handlers_of_before_send_come_first(capture: gateway.Capture) -> None:
    """As moto's do; what they answer is no call of a model."""

    def mocked() -> Any:
        asked = client()
        answer = botocore.awsrequest.AWSResponse(
            "", 200, {"content-type": "application/json"}, io.BytesIO()
        )
        answer._content = orjson.dumps(WHOLE)
        asked.meta.events.register("before-send.bedrock-runtime.Converse", lambda **_: answer)
        return asked.converse(modelId=MODEL, messages=ASKED)["stopReason"]

    run = MemoryRun()
    assert await perform(run, mocked) == "end_turn"
    assert run.tickets == []


@pytest.mark.parametrize("strict", [False, True])
async def test_outside_runs_it_is_a_stray(strict: bool, capture: gateway.Capture) -> None:
    hosts = []

    class Strays:
        def stray(self, host: str) -> None:
            hosts.append(host)
            if strict:
                raise ConfigError("No stray calls here.")

    capture.strays = Strays()
    with serving((200, {}, WHOLE)) as server:
        if strict:
            with pytest.raises(ClientError, match="No stray calls"):
                await asyncio.to_thread(ask)
        else:
            assert await asyncio.to_thread(ask)
        assert len(server.requests) == (0 if strict else 1)
    assert hosts == [HOST]


async def test_calls_of_several_threads_are_apart(capture: gateway.Capture) -> None:
    def both() -> list[Any]:
        asked, found, context = client(), [], MemoryRun()
        with context.running():
            asked.converse(modelId=MODEL, messages=ASKED)
        found.append(context.only.states)
        return found

    with serving((200, {}, WHOLE)):
        results = await asyncio.gather(*(asyncio.to_thread(both) for _ in range(4)))
    assert results == [[["done"]]] * 4
    assert threading.active_count() < 50


async def test_it_is_taken_out_with_the_patch() -> None:
    session, endpoint = botocore.httpsession.URLLib3Session, botocore.endpoint.Endpoint
    before = (session.send, endpoint._needs_retry)
    gateway.install()
    assert session.send is not before[0]
    gateway.uninstall()
    assert (session.send, endpoint._needs_retry) == before
    assert BOTOCORE.patch is None


_LATE = """
import sys
from perdure import gateway
gateway.install()
assert "botocore" not in sys.modules, "perdure imports botocore"
import anthropic
import boto3
boto3.Session("a", "b", region_name="us-east-1").client("bedrock-runtime")
from botocore.httpsession import URLLib3Session
assert hasattr(URLLib3Session.send, "__wrapped__"), "not captured"
"""


def test_who_imports_it_late_is_not_missed_and_who_does_not_pays_nothing() -> None:
    ended = subprocess.run([sys.executable, "-c", _LATE], capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()


async def test_anthropics_own_client_for_bedrock(capture: gateway.Capture) -> None:
    """It stands on httpx2 and reads the same event streams."""

    async def ask() -> str:
        keys: dict[str, Any] = {"aws_access_key": "AKIA-key", "aws_secret_key": SECRET}
        async with (
            anthropic.AsyncAnthropicBedrock(aws_region="us-east-1", **keys) as sdk,
            sdk.messages.stream(
                model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "Why tides?"}]
            ) as stream,
        ):
            return "".join([text async for text in stream.text_stream])

    start: dict[str, Any] = {
        "id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "x",
        "stop_reason": None, "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }  # fmt: skip
    opening: dict[str, Any] = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "text", "text": ""},
    }
    makers: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        opening,
        *MAKERS[1:],
    ]
    run = MemoryRun()
    with serving((200, {}, chunks(*makers))) as server:
        with run.running():
            answer = await ask()
        await run.settle()
        assert answer == "".join(WORDS) == "".join(run.only.deltas)
        assert run.only.states == ["done"]
        with run.again().running():
            assert await ask() == answer
        assert len(server.requests) == 1


async def test_captured_calls_are_not_told_of_as_unseen(
    capture: gateway.Capture, caplog: pytest.LogCaptureFixture
) -> None:
    with serving((200, {}, WHOLE)) as server:
        port = server.url.removeprefix("http://")
        capture.providers = capture.providers.adding({port: "bedrock"})
        await perform(MemoryRun(), ask)
    assert caplog.records == []
    assert capture.unmetered == {}
