"""Rate limits of a simulated provider, as the real SDKs meet them and as other processes see."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from perdure.testing.scripted import ScriptedProvider
from perdure.testing.simulator import Limit, ProviderSimulator, Quota, Reply
from perdure.testing.simulator.quota.limit import read_quotas

ASK: Any = [{"role": "user", "content": "Why tides?"}]


def claude_at(url: str, key: str = "a") -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0)


def gpt_at(url: str, key: str = "a") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


async def test_anthropics_sdk_is_refused_as_by_anthropic() -> None:
    limits = read_quotas("rpm=2 itpm=30_000 otpm=8_000 kind=window by=key")
    ask: Any = {"model": "claude-opus-9", "max_tokens": 9, "messages": ASK}
    async with ProviderSimulator(limits=limits) as sim, claude_at(sim.url) as claude:
        first = await claude.messages.with_raw_response.create(**ask)
        headers = first.headers
        assert headers["anthropic-ratelimit-requests-limit"] == "2"
        assert headers["anthropic-ratelimit-requests-remaining"] == "1"
        assert headers["anthropic-ratelimit-input-tokens-remaining"] == "30000"
        assert headers["anthropic-ratelimit-output-tokens-limit"] == "8000"
        reset = datetime.fromisoformat(headers["anthropic-ratelimit-requests-reset"])
        assert 55 < (reset - datetime.now(UTC)).total_seconds() <= 61
        async with claude.messages.stream(**ask) as stream:
            await stream.get_final_message()
            assert stream.response.headers["anthropic-ratelimit-requests-remaining"] == "0"
        with pytest.raises(anthropic.RateLimitError) as caught:
            await claude.messages.create(**ask)
        body: Any = caught.value.body
        assert body["error"]["type"] == "rate_limit_error"
        assert "rate limit of 2 requests per minute" in body["error"]["message"]
        headers = caught.value.response.headers
        assert 55 < int(headers["retry-after"]) <= 60
        assert headers["anthropic-ratelimit-requests-remaining"] == "0"
        async with claude_at(sim.url, "b") as other:
            await other.messages.create(**ask)
        books = sim.accounting()
        assert (books.by_key["a"].limited, books.by_key["b"].limited) == (1, 0)


async def test_openais_sdk_is_refused_as_by_openai() -> None:
    limits = read_quotas("rpm=60 tpm=1000 kind=bucket")
    async with ProviderSimulator(limits=limits) as sim, gpt_at(sim.url) as gpt:
        first = await gpt.chat.completions.with_raw_response.create(
            model="gpt-9", messages=ASK, max_completion_tokens=900
        )
        headers = first.headers
        assert headers["x-ratelimit-limit-tokens"] == "1000"
        assert headers["x-ratelimit-remaining-tokens"] == "100"
        assert headers["x-ratelimit-reset-requests"] == "1s"
        assert headers["x-ratelimit-reset-tokens"] == "54s"
        with pytest.raises(openai.RateLimitError) as caught:
            await gpt.responses.create(model="gpt-9", input="Why?", max_output_tokens=400)
        error = caught.value
        assert (error.code, error.type) == ("rate_limit_exceeded", "tokens")
        assert "tokens per min (TPM): Limit 1000, Used " in error.message
        assert "Requested 400. Please try again in 1" in error.message
        waits = error.response.headers
        assert 10_000 < int(waits["retry-after-ms"]) <= 18_000
        assert int(waits["retry-after"]) == -(-int(waits["retry-after-ms"]) // 1000)
        with pytest.raises(openai.RateLimitError) as caught:
            await gpt.chat.completions.create(model="gpt-9", messages=ASK, max_tokens=5000)
        assert "Request too large for gpt-9" in caught.value.message


async def test_google_tells_of_its_limits_in_the_body() -> None:
    ask = {"contents": [{"role": "user", "parts": [{"text": "Why?"}]}]}
    path = "/v1beta/models/gemini-9:generateContent"
    limits = [Quota((Limit("requests", 1, kind="window"),), models=("gemini-*",))]
    async with (
        ProviderSimulator(limits=limits) as sim,
        httpx2.AsyncClient(base_url=sim.url, headers={"x-goog-api-key": "k"}) as http,
    ):
        assert (await http.post(path, json=ask)).status_code == 200
        refused = await http.post(path, json=ask)
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert error["status"] == "RESOURCE_EXHAUSTED"
        assert "limit: 1, model: gemini-9\nPlease retry in " in error["message"]
        assert sim.accounting().by_key["k"].limited == 1


async def test_limits_and_accounting_over_http() -> None:
    async with (
        ProviderSimulator() as sim,
        httpx2.AsyncClient(base_url=sim.url) as http,
        claude_at(sim.url) as claude,
    ):
        quotas = [{"limits": [{"what": "requests", "amount": 1, "kind": "window"}], "by": ["key"]}]
        answer = await http.post("/_sim/limits", json=quotas)
        assert answer.json() == (await http.get("/_sim/limits")).json()
        ask: Any = {"model": "m", "max_tokens": 9, "messages": ASK}
        said = await claude.messages.create(**ask)
        with pytest.raises(anthropic.RateLimitError):
            await claude.messages.create(**ask)
        books = (await http.get("/_sim/accounting")).json()
        assert books["total"]["input"] == said.usage.input_tokens
        assert books["by_key"]["a"]["output"] == said.usage.output_tokens
        (meter,) = books["meters"]
        assert (meter["limit"], meter["largest_share"], meter["limited"]) == ("RPM", 1.0, 1)
        (nothing,) = (await http.get("/_sim/accounting?since=1&until=61")).json()["meters"]
        assert (nothing["used"], nothing["utilisation"], nothing["largest"]) == (0, 0, 1)
        wrong = await http.post("/_sim/limits", json=[{"limits": [{"what": "wishes"}]}])
        assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_input")


async def test_a_stream_that_the_client_leaves_is_billed_as_far_as_it_came() -> None:
    def brain(call: object) -> Reply:
        return Reply("x" * 4000, chunk=40, rate=200.0)

    async with ProviderSimulator(brain) as sim, gpt_at(sim.url) as gpt:
        stream = await gpt.chat.completions.create(model="m", messages=ASK, stream=True)
        words = 0
        async for chunk in stream:
            words += len(chunk.choices[0].delta.content or "")
            if words >= 80:
                break
        await stream.close()
        await sim.wait(finished=1)
        (row,) = sim.calls()
        assert row.status == "aborted"
        assert words / 4 <= row.billed_output < 1000
        total = sim.accounting().total
        assert (total.input, total.output) == (row.billed_input, row.billed_output)


async def test_limits_without_a_server() -> None:
    provider = ScriptedProvider(limits=read_quotas("rpm=1"))
    http = httpx2.AsyncClient(transport=provider.transport())
    async with openai.AsyncOpenAI(api_key="a", http_client=http, max_retries=0) as gpt:
        await gpt.chat.completions.create(model="m", messages=ASK)
        with pytest.raises(openai.RateLimitError):
            await gpt.chat.completions.create(model="m", messages=ASK)
    assert provider.accounting().total.limited == 1
