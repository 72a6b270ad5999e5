"""The ledger: what was paid twice, what was not, and how much it remembers."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import openai
import pytest

from perdure.testing.simulator import ProviderSimulator, Reply, Usage, digest_of, echo
from perdure.testing.simulator.ledger import Ledger, Row
from perdure.testing.simulator.tokens import NEUTRAL_FIELDS

ASK: Any = [{"role": "user", "content": "What was paid?"}]
BODY: dict[str, Any] = {"model": "m", "messages": ASK}


def opened(ledger: Ledger, digest: str) -> tuple[Row, object]:
    return ledger.open(format="chat", path="/", model="m", digest=digest, streamed=False, now=1.0)


async def test_the_same_question_is_counted_however_it_is_delivered() -> None:
    async with ProviderSimulator() as sim, httpx2.AsyncClient(base_url=sim.openai_url) as client:
        variants: list[dict[str, Any]] = [
            {}, {"stream": True}, {"user": "u"}, {"prompt_cache_key": "k", "store": True},
            {"metadata": {"trace": "1"}, "service_tier": "flex", "safety_identifier": "s"},
        ]  # fmt: skip
        for extra in variants:
            answer = await client.post("chat/completions", json={**BODY, **extra})
            assert answer.status_code == 200
        digest = digest_of("chat", BODY)
        assert sim.counts().repeated == {digest: len(variants)}
        assert sim.count(digest).answered == len(variants)
        await client.post("chat/completions", json={**BODY, "temperature": 0.5})
        assert len(sim.digests()) == 2
        assert sim.count("never asked").started == 0


def test_a_digest_depends_on_all_that_shapes_the_answer() -> None:
    digest = digest_of("chat", BODY)
    assert digest == digest_of("chat", {"messages": ASK, "model": "m"})
    assert digest != digest_of("anthropic", BODY)
    assert digest != digest_of("chat", {**BODY, "model": "n"})
    for name in NEUTRAL_FIELDS["chat"]:
        assert digest == digest_of("chat", {**BODY, name: "x"}), name


async def test_an_answer_that_the_client_has_is_in_the_ledger() -> None:
    async with ProviderSimulator() as sim, httpx2.AsyncClient(base_url=sim.openai_url) as client:
        for n in range(1, 51):
            await client.post("chat/completions", json={**BODY, "stream": n % 2 == 0})
            assert sim.counts().answered == n


async def test_a_large_answer_is_answered_when_its_client_has_read_it() -> None:
    big = "x" * 20_000_000
    async with ProviderSimulator(lambda call: Reply(big)) as sim:
        async with (
            httpx2.AsyncClient(base_url=sim.openai_url) as client,
            client.stream("POST", "chat/completions", json=BODY) as response,
        ):
            body = await response.aread()
            assert len(body) > len(big)
        assert sim.counts().answered == 1


async def test_a_client_that_leaves_in_the_middle_of_a_stream_aborts() -> None:
    brain = Reply("words " * 100, pace=0.001)
    async with ProviderSimulator(lambda call: brain) as sim:
        async with openai.AsyncOpenAI(base_url=sim.openai_url, api_key="any") as gpt:
            stream = await gpt.chat.completions.create(model="m", messages=ASK, stream=True)
            async for _ in stream:
                break
            await stream.close()
        counts = await sim.wait(finished=1)
        assert (counts.aborted, counts.answered) == (1, 0)


async def test_a_client_that_leaves_while_the_brain_thinks_aborts_it() -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def thinker(call: Any) -> Reply:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            loop.call_soon_threadsafe(stopped.set)
        raise AssertionError("unreachable")

    async with (
        ProviderSimulator(thinker) as sim,
        openai.AsyncOpenAI(base_url=sim.openai_url, api_key="any", max_retries=0) as gpt,
    ):
        task = asyncio.create_task(gpt.responses.create(model="m", input="q"))
        await sim.wait(started=1)
        assert sim.counts().in_flight == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await sim.wait(finished=1)).aborted == 1
        await stopped.wait()


async def test_rows_are_bounded_and_totals_are_not() -> None:
    async with (
        ProviderSimulator(echo, rows=3) as sim,
        httpx2.AsyncClient(base_url=sim.openai_url) as client,
    ):
        for n in range(5):
            await client.post("chat/completions", json={**BODY, "seed": n})
        assert [row.n for row in sim.calls()] == [3, 4, 5]
        assert len(sim.digests()) == 3
        assert sim.counts().answered == 5


def test_a_row_ends_once_and_not_after_a_reset() -> None:
    ledger = Ledger(10)
    row, token = opened(ledger, "a")
    assert ledger.close(row, token, "aborted", 2.0)
    assert not ledger.close(row, token, "answered", 3.0)
    assert ledger.counts(0).aborted == 1
    late, token = opened(ledger, "b")
    ledger.reset()
    assert not ledger.close(late, token, "answered", 4.0)
    assert ledger.counts(0).finished == 0


def test_what_was_forgotten_is_not_reported_as_repeated() -> None:
    ledger = Ledger(1)
    for digest in ("a", "a", "b"):
        row, token = opened(ledger, digest)
        ledger.close(row, token, "answered", 2.0)
    assert ledger.counts(0).repeated == {}
    assert ledger.counts(0).answered == 3


def test_a_ledger_keeps_at_least_one_row() -> None:
    with pytest.raises(ValueError):
        Ledger(0)


async def test_usage_of_answers_is_added_up() -> None:
    reply = Reply("x", usage=Usage(10, 3))
    async with (
        ProviderSimulator(lambda call: reply) as sim,
        httpx2.AsyncClient(base_url=sim.openai_url) as client,
    ):
        for _ in range(2):
            await client.post("chat/completions", json=BODY)
        await client.post("chat/completions", json={"model": "m"})
        counts = sim.counts()
    assert (counts.input_tokens, counts.output_tokens) == (20, 6)
