"""Injected faults, as the real SDKs see them and as the ledger tells them."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from perdure.errors import InvalidInput
from perdure.testing.simulator import Call, Fault, FaultPlan, Match, ProviderSimulator, Reply, echo

ASK: Any = [{"role": "user", "content": "long enough for a number of chunks " * 5}]
WORDS = ASK[0]["content"]


def claude_at(sim: ProviderSimulator, **options: Any) -> anthropic.AsyncAnthropic:
    options = {"max_retries": 0, **options}
    return anthropic.AsyncAnthropic(base_url=sim.url, api_key="any", **options)


def gpt_at(sim: ProviderSimulator, **options: Any) -> openai.AsyncOpenAI:
    options = {"max_retries": 0, **options}
    return openai.AsyncOpenAI(base_url=sim.openai_url, api_key="any", **options)


async def whole(client: anthropic.AsyncAnthropic) -> str:
    message = await client.messages.create(model="m", max_tokens=9, messages=ASK)
    return "".join(block.text for block in message.content if block.type == "text")


async def events_of(client: anthropic.AsyncAnthropic, seen: list[str]) -> None:
    stream = await client.messages.create(model="m", max_tokens=9, messages=ASK, stream=True)
    async for event in stream:
        seen.append(event.type)


async def chat(client: openai.AsyncOpenAI, seen: list[Any]) -> None:
    async for chunk in await client.chat.completions.create(model="m", messages=ASK, stream=True):
        seen.append(chunk)


async def responses(client: openai.AsyncOpenAI, seen: list[Any]) -> None:
    async for event in await client.responses.create(model="m", input=WORDS, stream=True):
        seen.append(event)


async def test_429_carries_what_each_provider_says() -> None:
    async with (
        ProviderSimulator(echo, [Fault("429", retry_after=90)]) as sim,
        claude_at(sim) as claude,
        gpt_at(sim) as gpt,
    ):
        with pytest.raises(anthropic.RateLimitError) as theirs:
            await whole(claude)
        headers = theirs.value.response.headers
        assert headers["retry-after"] == "90"
        assert headers["anthropic-ratelimit-requests-remaining"] == "0"
        assert headers["anthropic-ratelimit-input-tokens-reset"].endswith("Z")
        body: Any = theirs.value.body
        assert body["error"]["type"] == "rate_limit_error"
        with pytest.raises(openai.RateLimitError) as ours:
            await chat(gpt, [])
        headers = ours.value.response.headers
        assert headers["x-ratelimit-remaining-tokens"] == "0"
        assert headers["x-ratelimit-reset-requests"] == "1m30s"
        assert ours.value.code == "rate_limit_exceeded"
        assert [(row.status, row.http_status) for row in sim.calls()] == [("refused", 429)] * 2


async def test_a_429_can_say_that_the_money_is_gone() -> None:
    fault = Fault("429", type="insufficient_quota", message="You exceeded your current quota.")
    async with ProviderSimulator(echo, [fault]) as sim, gpt_at(sim) as gpt:
        with pytest.raises(openai.RateLimitError) as caught:
            await chat(gpt, [])
    assert caught.value.code == "insufficient_quota"
    assert "exceeded your current quota" in caught.value.message


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("500", anthropic.InternalServerError),
        ("529", anthropic.OverloadedError),
        ("401", anthropic.AuthenticationError),
    ],
)
async def test_other_statuses(kind: str, error: type[Exception]) -> None:
    async with ProviderSimulator(echo, [Fault(kind)]) as sim, claude_at(sim) as claude:
        with pytest.raises(error):
            await whole(claude)
        with pytest.raises(error):
            await events_of(claude, [])
        assert sim.counts().refused == 2


async def test_the_sdks_own_retry_gets_through() -> None:
    faults = [Fault("529", Match(nth=1), retry_after=0.001), Fault("drop", Match(nth=2))]
    async with ProviderSimulator(echo, faults) as sim, claude_at(sim, max_retries=2) as claude:
        assert await whole(claude) == WORDS
        counts = sim.counts()
        assert (counts.refused, counts.broken, counts.answered) == (1, 1, 1)
        (count,) = sim.digests().values()
        assert (count.started, count.answered) == (3, 1)
        assert counts.repeated == {}


async def test_drop_is_a_real_reset() -> None:
    async with ProviderSimulator(echo, [Fault("drop")]) as sim, gpt_at(sim) as gpt:
        with pytest.raises(openai.APIConnectionError) as caught:
            await chat(gpt, [])
        assert isinstance(caught.value.__cause__, httpx2.ReadError)
        (row,) = sim.calls()
        assert (row.status, row.fault, row.http_status) == ("broken", "drop", None)


Stream = Callable[[Any, list[Any]], Awaitable[None]]
STREAMS = [
    (claude_at, events_of, httpx2.RemoteProtocolError),
    (gpt_at, chat, openai.APIConnectionError),
    (gpt_at, responses, openai.APIConnectionError),
]


@pytest.mark.parametrize(("connect", "stream", "error"), STREAMS)
async def test_break_ends_a_stream_after_so_many_events(
    connect: Callable[[ProviderSimulator], Any], stream: Stream, error: type[Exception]
) -> None:
    async with (
        ProviderSimulator(echo, [Fault("break", after_chunks=5)]) as sim,
        connect(sim) as client,
    ):
        seen: list[Any] = []
        with pytest.raises(error):
            await stream(client, seen)
        # The SDK for Anthropic swallows the ping that is one of the five.
        assert len(seen) == (4 if stream is events_of else 5)
        (row,) = sim.calls()
        assert row.status == "broken"
        assert sim.counts().output_tokens == 0


async def test_break_never_lets_a_whole_stream_through() -> None:
    fault = Fault("break", after_chunks=10_000)
    async with ProviderSimulator(echo, [fault]) as sim, gpt_at(sim) as gpt:
        with pytest.raises(openai.APIConnectionError):
            await responses(gpt, [])


async def test_break_of_a_whole_answer_ends_it_halfway() -> None:
    async with ProviderSimulator(echo, [Fault("break")]) as sim, claude_at(sim) as claude:
        with pytest.raises(anthropic.APIConnectionError) as caught:
            await whole(claude)
        assert isinstance(caught.value.__cause__, httpx2.RemoteProtocolError)
        assert sim.counts().broken == 1


async def test_an_error_can_come_within_a_stream() -> None:
    fault = Fault("error", after_chunks=4)
    async with (
        ProviderSimulator(echo, [fault]) as sim,
        claude_at(sim) as claude,
        gpt_at(sim) as gpt,
    ):
        seen: list[Any] = []
        with pytest.raises(anthropic.APIStatusError) as theirs:
            await events_of(claude, seen)
        assert theirs.value.status_code == 200
        assert "overloaded_error" in str(theirs.value)
        assert len(seen) == 3
        with pytest.raises(openai.APIError, match="overloaded"):
            await chat(gpt, [])
        events: list[Any] = []
        await responses(gpt, events)
        assert (events[-1].type, events[-1].sequence_number) == ("error", 4)
        assert sim.counts().broken == 3
        with pytest.raises(anthropic.OverloadedError):
            await whole(claude)


async def test_slow_is_late_but_whole() -> None:
    slow = Fault("slow", delay=0.05)
    async with ProviderSimulator(echo, [slow]) as sim, claude_at(sim) as claude:
        assert await whole(claude) == WORDS
        seen: list[str] = []
        await events_of(claude, seen)
        assert seen[-1] == "message_stop"
        for row in sim.calls():
            assert row.status == "answered"
            assert row.finished is not None
            assert row.finished - row.started >= 0.05


async def test_slow_beyond_the_clients_patience_is_aborted() -> None:
    slow = Fault("slow", delay=3600.0)
    async with ProviderSimulator(echo, [slow]) as sim, claude_at(sim, timeout=0.05) as claude:
        with pytest.raises(anthropic.APITimeoutError):
            await whole(claude)
        assert (await sim.wait(finished=1)).aborted == 1


@pytest.mark.parametrize("after", [0, 3])
async def test_hang_until_the_client_gives_up(after: int) -> None:
    hang = Fault("hang", after_chunks=after)
    async with ProviderSimulator(echo, [hang]) as sim, gpt_at(sim, timeout=0.05) as gpt:
        seen: list[Any] = []
        with pytest.raises(openai.APITimeoutError):
            await chat(gpt, seen)
        assert len(seen) == after
        assert (await sim.wait(finished=1)).aborted == 1


async def test_hang_with_a_delay_ends_by_itself() -> None:
    hang = Fault("hang", delay=0.02)
    async with ProviderSimulator(echo, [hang]) as sim, gpt_at(sim) as gpt:
        with pytest.raises(openai.APIConnectionError) as caught:
            await chat(gpt, [])
        assert not isinstance(caught.value, openai.APITimeoutError)
        assert sim.counts().broken == 1


def test_stopping_cuts_what_hangs() -> None:
    sim = ProviderSimulator(echo, [Fault("hang")]).start()
    with openai.OpenAI(base_url=sim.openai_url, api_key="any", max_retries=0) as gpt:
        seen: list[BaseException] = []

        def ask() -> None:
            try:
                gpt.responses.create(model="m", input="q")
            except openai.OpenAIError as error:
                seen.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        sim.wait_sync(started=1)
        sim.stop()
        thread.join()
    assert isinstance(seen[0], openai.APIConnectionError)
    assert sim.counts().aborted == 1


async def test_rules_match_and_wear_out() -> None:
    plan = FaultPlan(
        [
            Fault("500", Match(nth=(2, 4))),
            Fault("429", Match(every=3, format="chat")),
            Fault("529", Match(model="big", stream=False), times=1),
            Fault("503", Match(path="/v1/responses")),
        ]
    )

    def strike(n: int, **facts: Any) -> str | None:
        usual = {"model": "m", "format": "chat", "path": "/v1/chat/completions", "digest": "d"}
        fault = plan.strike(n=n, **{**usual, "stream": False, **facts})
        return None if fault is None else fault.kind

    assert [strike(n) for n in range(1, 7)] == [None, "500", "429", "500", None, "429"]
    assert strike(7, model="big", stream=True) is None
    assert [strike(7, model="big"), strike(8, model="big")] == ["529", None]
    assert strike(9, format="responses", path="/v1/responses") == "503"
    assert [rule["struck"] for rule in plan.to_list()] == [2, 2, 1, 1]


async def test_rules_by_digest() -> None:
    async with ProviderSimulator() as sim, claude_at(sim) as claude:
        await whole(claude)
        (digest,) = sim.digests()
        sim.set_faults([Fault("500", Match(digest=digest))])
        with pytest.raises(anthropic.InternalServerError):
            await whole(claude)
        await claude.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "other"}]
        )
        assert sim.counts().refused == 1


def test_a_plan_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text('[{"kind": 429, "match": {"nth": [1, 3]}, "times": 1, "retry_after": 2}]')
    (rule,) = FaultPlan.from_file(path).to_list()
    assert rule == {
        "kind": "429", "match": {"nth": (1, 3)}, "times": 1, "retry_after": 2, "struck": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "plan",
    [
        {"kind": "drop"},
        ["drop"],
        [{"kind": "explode"}],
        [{"kind": "200"}],
        [{"match": {}}],
        [{"kind": "drop", "match": {"color": "red"}}],
        [{"kind": "drop", "when": 1}],
        [{"kind": "slow", "delay": -1}],
        [{"kind": "slow", "delay": "soon"}],
        [{"kind": "drop", "match": {"every": 0}}],
    ],
)
def test_a_wrong_plan_is_an_error(plan: Any) -> None:
    with pytest.raises(InvalidInput):
        FaultPlan.from_list(plan)


def test_a_plan_holds_faults_only() -> None:
    wrong: Any = [{"kind": "drop"}]
    with pytest.raises(InvalidInput):
        ProviderSimulator(echo, wrong)


async def test_a_brain_can_be_a_provider_with_limits() -> None:
    def limited(call: Call) -> Reply | Fault:
        if call.n > 1:
            return Fault("429", retry_after=7, headers={"X-RateLimit-Limit-Requests": "1"})
        return Reply("ok", headers={"x-ratelimit-remaining-requests": "0"})

    async with ProviderSimulator(limited) as sim, gpt_at(sim) as gpt:
        raw = await gpt.chat.completions.with_raw_response.create(model="m", messages=ASK)
        assert raw.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError) as caught:
            await chat(gpt, [])
        assert caught.value.response.headers["x-ratelimit-limit-requests"] == "1"
        assert [row.fault for row in sim.calls()] == [None, "429"]
