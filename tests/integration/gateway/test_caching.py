"""Answers from before, and the provider's own prompt cache."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import anthropic
import openai
import orjson
import pytest

from perdure.app import App
from perdure.core.record import Kind, RecordType
from perdure.store.costs import CostFilter, CostRow
from perdure.testing.simulator import Call, Fault, PromptCache, ProviderSimulator, Reply, script
from tests.integration.gateway.conftest import Begin
from tests.running import Ground

CACHED = '[agents.agent]\ncache = "exact"\n'
LONG = "A very long story about the sea. " * 400


def counted(call: Call) -> Reply:
    return Reply(f"Answer {call.n}.", chunk=4)


async def by_source(ground: Ground) -> dict[str, CostRow]:
    return {r.group["source"]: r for r in await ground.store.costs(CostFilter(by=("source",)))}


def asking(streamed: bool = False, temperature: float = 0.0, times: int = 1) -> Any:
    async def agent(question: str) -> list[str]:
        client = anthropic.AsyncAnthropic()
        said = []
        for _ in range(times):
            given: dict[str, Any] = {
                "model": "claude-sonnet-5-5", "max_tokens": 100,
                "messages": [{"role": "user", "content": question}],
            }  # fmt: skip
            if streamed:
                async with client.messages.stream(**given) as stream:
                    message = await stream.get_final_message()
            else:
                message = await client.messages.create(**given)
            said.append(message.content[0].text)  # type: ignore[union-attr]
        return said

    return agent


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_equal_call_is_answered_from_before(
    ground: Ground, begin: Begin, streamed: bool
) -> None:
    app = App()
    app.add(asking(streamed), name="agent")
    with ProviderSimulator(counted) as sim:
        await begin(app, sim, CACHED)
        for _ in range(2):
            run = await ground.start("agent", "Why?")
            assert await ground.result(run) == ["Answer 1."]
        other = await ground.start("agent", "How?")
        assert await ground.result(other) == ["Answer 2."]
        assert len(sim.calls()) == 2
    rows = await by_source(ground)
    sent, cached = rows["sent"], rows["cached"]
    assert (sent.calls, cached.calls, cached.cost) == (2, 1, 0)
    assert cached.saved > 0
    assert (cached.input, cached.output, cached.unknown) == (sent.input // 2, sent.output // 2, 0)
    words = [
        piece["text"]
        for event in await ground.events(run)
        if event.type == RecordType.DELTA and event.kind == Kind.MODEL
        for piece in orjson.loads(event.value or b"[]")
    ]
    assert "".join(words) == ("Answer 1." if streamed else "")


async def test_a_whole_answer_is_none_for_who_streams(ground: Ground, begin: Begin) -> None:
    app = App()
    app.add(asking(), name="agent")
    app.add(asking(streamed=True), name="streaming")
    both = '[agents.agent]\ncache = "exact"\ncache_scope = "all"\n'
    with ProviderSimulator(counted) as sim:
        await begin(app, sim, both + both.replace("agents.agent", "agents.streaming"))
        for n, agent in enumerate(("agent", "streaming"), 1):
            assert await ground.result(await ground.start(agent, "Why?")) == [f"Answer {n}."]
        assert len(sim.calls()) == 2


async def test_who_asks_twice_gets_two_answers(ground: Ground, begin: Begin) -> None:
    app = App()
    app.add(asking(times=2), name="agent")
    with ProviderSimulator(counted) as sim:
        await begin(app, sim, CACHED)
        first = await ground.result(await ground.start("agent", "Why?"))
        assert first == ["Answer 1.", "Answer 2."]
        # The newer answer is the one that is kept; the second question goes out again.
        second = await ground.result(await ground.start("agent", "Why?"))
        assert second == ["Answer 2.", "Answer 3."]


async def test_without_opting_in_nothing_is_kept(ground: Ground, begin: Begin) -> None:
    app = App()
    app.add(asking(), name="agent")
    with ProviderSimulator(counted) as sim:
        await begin(app, sim)
        for n in (1, 2):
            assert await ground.result(await ground.start("agent", "Why?")) == [f"Answer {n}."]


async def test_a_hidden_usage_is_kept_with_the_answer(ground: Ground, begin: Begin) -> None:
    app = App()

    @app.agent(name="agent")
    async def agent() -> str:
        stream = await openai.AsyncOpenAI().chat.completions.create(
            model="gpt-5", messages=[{"role": "user", "content": "Why?"}], stream=True
        )
        return "".join([piece.choices[0].delta.content or "" async for piece in stream])

    with ProviderSimulator(counted) as sim:
        await begin(app, sim, CACHED)
        for _ in range(2):
            assert await ground.result(await ground.start("agent", None)) == "Answer 1."
    rows = await by_source(ground)
    assert rows["cached"].saved == rows["sent"].cost > 0


async def test_an_error_is_not_kept(ground: Ground, begin: Begin) -> None:
    app = App()

    @app.agent(name="agent")
    async def agent() -> str:
        try:
            await anthropic.AsyncAnthropic().messages.create(
                model="claude-sonnet-5-5", max_tokens=10,
                messages=[{"role": "user", "content": "Why?"}],
            )  # fmt: skip
        except anthropic.BadRequestError:
            return "refused"
        return "answered"

    with ProviderSimulator(counted) as sim:
        sim.set_faults([Fault("400", times=1)])
        await begin(app, sim, CACHED)
        assert await ground.result(await ground.start("agent", None)) == "refused"
        assert await ground.result(await ground.start("agent", None)) == "answered"


async def test_markers_make_the_provider_read_its_cache(ground: Ground, begin: Begin) -> None:
    app = App()

    @app.agent(name="agent")
    async def agent() -> str:
        client = anthropic.AsyncAnthropic()
        chat: list[Any] = [{"role": "user", "content": "Begin."}]
        said = ""
        for _ in range(4):
            message = await client.messages.create(
                model="claude-sonnet-5-5", max_tokens=100, system=LONG, messages=chat
            )
            said = message.content[0].text  # type: ignore[union-attr]
            chat += [
                {"role": "assistant", "content": said},
                {"role": "user", "content": "Go on."},
            ]
        return said

    brain = script([Reply(f"Chapter {n}. " * 40) for n in range(4)])
    with ProviderSimulator(brain, cache=PromptCache()) as sim:
        end = await begin(app, sim)
        await ground.result(await ground.start("agent", None))
        assert [call.cache_read for call in sim.calls()] == [0] * 4
        await end()
        sim.reset()
        await begin(app, sim, "[agents.agent]\nprompt_cache = true\n")
        await ground.result(await ground.start("agent", None))
        calls = sim.calls()
        # Each call reads all that the one before wrote.
        assert calls[0].cache_read == 0 < calls[0].cache_write
        for before, after in pairwise(calls):
            assert after.cache_read == before.cache_read + before.cache_write
        books = sim.accounting().total
    rows = await ground.store.costs(CostFilter(by=("run_id",)))
    plain, cached = sorted(rows, key=lambda row: row.cache_read)
    assert plain.cache_read == plain.saved == 0
    assert (cached.cache_read, cached.cache_write) == (books.cache_read, books.cache_write)
    assert cached.saved > 0
    assert cached.cost < plain.cost
