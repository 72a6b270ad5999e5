"""The ledger adds up to what the provider counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest

from perdure import feature, step
from perdure.app import App
from perdure.store.costs import CostFilter, CostRow
from perdure.testing.simulator import ProviderSimulator, Reply, script
from tests.integration.gateway.conftest import Begin
from tests.integration.stage import Tally
from tests.running import Ground

ASK: Any = [{"role": "user", "content": "Say something."}]


async def rows(ground: Ground, *by: str) -> dict[tuple[str, ...], CostRow]:
    found = await ground.store.costs(CostFilter(by=by))
    return {tuple(row.group[name] for name in by): row for row in found}


async def whole_anthropic() -> None:
    client = anthropic.AsyncAnthropic()
    await client.messages.create(model="claude-sonnet-5-5", max_tokens=100, messages=ASK)


async def streamed_anthropic() -> None:
    client = anthropic.AsyncAnthropic()
    async with client.messages.stream(
        model="claude-sonnet-5-5", max_tokens=100, messages=ASK
    ) as stream:
        await stream.get_final_message()


async def whole_chat() -> None:
    client = openai.AsyncOpenAI()
    await client.chat.completions.create(model="gpt-5", messages=ASK)


async def streamed_chat() -> None:
    client = openai.AsyncOpenAI()
    stream: Any = await client.chat.completions.create(model="gpt-5", messages=ASK, stream=True)
    pieces = [piece async for piece in stream]
    # Usage was asked for by the gateway alone: an agent that reads choices[0] must not see it.
    assert all(piece.choices for piece in pieces)


async def whole_responses() -> None:
    await openai.AsyncOpenAI().responses.create(model="gpt-5", input="Say something.")


async def streamed_responses() -> None:
    stream = await openai.AsyncOpenAI().responses.create(
        model="gpt-5", input="Say something.", stream=True
    )
    async for _ in stream:
        pass


CALLS = [
    whole_anthropic, streamed_anthropic, whole_chat, streamed_chat, whole_responses,
    streamed_responses,
]  # fmt: skip


@pytest.fixture
async def sim() -> AsyncIterator[ProviderSimulator]:
    brain = script([Reply("The moon pulls at the sea, twice a day and gently.", chunk=8)])
    with ProviderSimulator(brain) as made:
        yield made


async def test_it_adds_up_to_the_token(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    async def agent() -> None:
        for call in CALLS:
            await call()

    app = App()
    app.add(agent)
    await begin(app, sim)
    await ground.result(await ground.start("agent", None))
    found = await rows(ground)
    [row] = found.values()
    counted = sim.accounting().total
    assert (row.calls, row.input, row.output) == (6, counted.input, counted.output)
    assert row.cost > 0
    assert row.unknown == 0
    models = await rows(ground, "provider", "model")
    assert set(models) == {("anthropic", "claude-sonnet-5-5"), ("openai", "gpt-5")}


async def test_who_is_charged(ground: Ground, begin: Begin, sim: ProviderSimulator) -> None:
    @step(name="research")
    async def research() -> None:
        await whole_anthropic()

    async def agent() -> None:
        with feature("search"):
            await research()
        await whole_chat()

    app = App()
    app.add(agent)
    await begin(app, sim)
    run = await ground.start("agent", None, session="talk")
    await ground.result(run)
    found = await rows(ground, "run_id", "agent", "step", "feature", "session")
    assert set(found) == {
        (run, "agent", "research", "search", "talk"),
        (run, "agent", "", "", "talk"),
    }


async def test_what_the_journal_spared(
    ground: Ground, begin: Begin, sim: ProviderSimulator, tally: Tally
) -> None:
    async def agent() -> None:
        await whole_anthropic()
        await whole_anthropic()
        await tally.note("here")

    app = App()
    app.add(agent)
    tally.hold("here")
    begun = await begin(app, sim)
    run = await ground.start("agent", None)
    await tally.reached("here")
    await begun()
    tally.release("here")
    begun = await begin(app, sim)
    await ground.result(run)
    await begun()  # closing the gate enters what it has not entered yet
    found = await rows(ground, "source")
    assert found["sent",].calls == 2
    replayed = found["replayed",]
    assert (replayed.calls, replayed.cost) == (2, 0)
    assert replayed.saved == found["sent",].cost > 0


async def test_synchronous_agents_are_charged_alike(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    def agent() -> None:
        anthropic.Anthropic().messages.create(
            model="claude-sonnet-5-5", max_tokens=100, messages=ASK
        )
        client: Any = openai.OpenAI()
        stream = client.chat.completions.create(model="gpt-5", messages=ASK, stream=True)
        assert all(piece.choices for piece in stream)

    app = App()
    app.add(agent)
    await begin(app, sim)
    await ground.result(await ground.start("agent", None))
    [row] = (await rows(ground)).values()
    counted = sim.accounting().total
    assert (row.calls, row.input, row.output) == (2, counted.input, counted.output)
