"""The brain for load, and the prompt cache."""

from __future__ import annotations

import random
import statistics
from typing import Any

import anthropic
import openai
import pytest

from perdure.errors import InvalidInput
from perdure.testing.simulator import PromptCache, ProviderSimulator, Reply, Sizes, load
from perdure.testing.simulator.brain import Brain
from perdure.testing.simulator.call import Call

LONG = "The tide comes in and goes out again. " * 200


def call(n: int = 1, **body: Any) -> Call:
    return Call(n, "chat", "/", "m", (), (), "", True, "digest", n, 5, body, {})


def said(brain: Brain, asked: Call) -> Reply:
    reply = brain(asked)
    assert isinstance(reply, Reply)
    return reply


@pytest.mark.parametrize("shape", ["lognormal:300:1.0", "pareto:300:2.5", "fixed:300"])
def test_sizes_have_their_mean_and_their_tail(shape: str) -> None:
    sizes, chance = Sizes.from_words(shape), random.Random(7)
    drawn = [sizes.draw(chance) for _ in range(20_000)]
    assert statistics.mean(drawn) == pytest.approx(300, rel=0.1)
    heavy = max(drawn) > 3000
    assert heavy == (sizes.shape != "fixed")
    assert Sizes("pareto", 300, 1.1, most=500).draw(random.Random(1)) <= 500


@pytest.mark.parametrize(
    "words", ["uniform:3", "pareto:300:1", "fixed:0", "fixed:x", "fixed:1:1:1:1", "lognormal:9:0"]
)
def test_sizes_that_cannot_be(words: str) -> None:
    with pytest.raises(InvalidInput):
        Sizes.from_words(words)


def test_load_is_a_function_of_seed_and_request() -> None:
    brain = load(seed=3)
    texts = [said(brain, call(n)).text for n in range(1, 20)]
    assert len({len(text) for text in texts}) > 10
    assert texts == [said(load(seed=3), call(n)).text for n in range(1, 20)]
    assert texts != [said(load(seed=4), call(n)).text for n in range(1, 20)]


def test_load_keeps_to_max_tokens_and_to_few_chunks() -> None:
    brain = load(Sizes("fixed", 1000), rate=50, chunks=8)
    reply = said(brain, call())
    assert (len(reply.text), reply.finish, reply.rate) == (4000, "stop", 50)
    assert len(reply.text) / reply.chunk == 8
    cut = said(brain, call(max_completion_tokens=10))
    assert (len(cut.text), cut.finish) == (40, "length")


async def test_anthropics_cache_writes_at_marks_and_reads_what_it_wrote() -> None:
    def ask(question: str, marked: bool = True) -> Any:
        mark = {"cache_control": {"type": "ephemeral"}} if marked else {}
        system = [{"type": "text", "text": LONG, **mark}]
        return {"model": "m", "max_tokens": 9, "system": system,
                "messages": [{"role": "user", "content": question}]}  # fmt: skip

    async with ProviderSimulator(cache=PromptCache()) as sim:
        client = anthropic.AsyncAnthropic(base_url=sim.url, api_key="a")
        other = anthropic.AsyncAnthropic(base_url=sim.url, api_key="b")
        async with client as claude, other as stranger:
            first = (await claude.messages.create(**ask("one"))).usage
            again = (await claude.messages.create(**ask("two"))).usage
            plain = (await claude.messages.create(**ask("two", marked=False))).usage
            theirs = (await stranger.messages.create(**ask("one"))).usage
    written = first.cache_creation_input_tokens
    assert written is not None
    assert written > 1024
    assert first.cache_read_input_tokens == 0
    assert (again.cache_read_input_tokens, again.cache_creation_input_tokens) == (written, 0)
    assert again.input_tokens < 100
    assert (plain.cache_read_input_tokens, plain.cache_creation_input_tokens) == (0, 0)
    assert plain.input_tokens > 1024
    assert theirs.cache_creation_input_tokens == written
    tally = sim.accounting().by_key["a"]
    assert (tally.cache_read, tally.cache_write) == (written, written)


async def test_openais_cache_works_by_itself_and_in_steps() -> None:
    async with (
        ProviderSimulator(cache=PromptCache()) as sim,
        openai.AsyncOpenAI(base_url=sim.openai_url, api_key="a") as gpt,
    ):
        cached = []
        for question in ("one", "two"):
            messages: Any = [{"role": "user", "content": LONG + question}]
            answer = await gpt.chat.completions.create(model="m", messages=messages)
            assert answer.usage is not None
            assert answer.usage.prompt_tokens_details is not None
            cached.append(answer.usage.prompt_tokens_details.cached_tokens)
        short = await gpt.responses.create(model="m", input="hi")
        assert short.usage is not None
        assert short.usage.input_tokens_details.cached_tokens == 0
    assert cached[0] == 0
    assert cached[1]
    assert cached[1] >= 1024
    assert cached[1] % 128 == 0


def test_hits_flip_and_entries_die() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": LONG}]}

    def reads(cache: PromptCache, times: int) -> int:
        hits = 0
        for at in range(times):
            read, _, entries = cache.look("chat", "a", body, float(at))
            hits += read > 0
            cache.keep(entries, float(at))
        return hits

    assert reads(PromptCache(), 1000) == 999
    assert 600 < reads(PromptCache(misses=0.3, seed=1), 1000) < 800
    cache = PromptCache(ttl=10)
    cache.keep(cache.look("chat", "a", body, 0.0)[2], 0.0)
    assert cache.look("chat", "a", body, 9.0)[0] > 0
    assert cache.look("chat", "a", body, 10.0)[0] == 0
