"""No call is made that its budgets may not hold, however many ask at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest

from perdure.app import App
from perdure.store.costs import CostFilter
from perdure.testing.simulator import ProviderSimulator, Sizes, load
from tests.integration.gateway.conftest import Begin
from tests.running import Ground

ASK: Any = [{"role": "user", "content": "Say something."}]
# A million dollars a million tokens of output: a dollar a token, and the prompt for nothing.
PRICES = """
[[prices]]
model = "*"
input = 0
output = 1_000_000
"""


async def ask(bound: int = 20, n: int = 0) -> str:
    client = anthropic.AsyncAnthropic()
    messages: Any = [{"role": "user", "content": f"Say something, for the {n}th time."}]
    try:
        await client.messages.create(model="claude-sonnet-5-5", max_tokens=bound, messages=messages)
    except anthropic.APIStatusError as error:
        return str(error.status_code)
    return "ok"


@pytest.fixture
async def sim() -> AsyncIterator[ProviderSimulator]:
    with ProviderSimulator(load(Sizes("fixed", mean=20))) as made:
        yield made


async def spent(ground: Ground) -> int:
    """In dollars, exactly."""
    [row] = await ground.store.costs(CostFilter())
    assert row.cost % 10**9 == 0
    return row.cost // 10**9


async def test_200_at_once_for_the_money_of_50(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    async def agent() -> list[str]:
        return await asyncio.gather(*(ask(n=n) for n in range(200)))

    app = App()
    app.add(agent)
    budget = '[[budgets]]\nname = "all"\nusd = "1000"\n'  # 50 calls of 20 dollars
    await begin(app, sim, PRICES + budget)
    found = await ground.result(await ground.start("agent", None))
    assert found.count("ok") == 50
    assert found.count("402") == 150
    assert sim.accounting().total.output == await spent(ground) == 1000


async def test_what_is_left_bounds_the_answer(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    async def agent() -> list[str]:
        return [await ask(100), await ask(100), await ask(100)]

    app = App()
    app.add(agent)
    await begin(app, sim, PRICES + '[[budgets]]\nname = "all"\nusd = "58"\n')
    assert await ground.result(await ground.start("agent", None)) == ["ok", "ok", "ok"]
    # 100 were asked for; 58, 38 and 18 could be paid.
    assert [call.output_tokens for call in sim.calls()] == [20, 20, 18]
    assert await spent(ground) == 58


async def test_a_call_without_a_bound_gets_one(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    async def agent() -> str:
        answer = await openai.AsyncOpenAI().chat.completions.create(model="gpt-5", messages=ASK)
        return answer.choices[0].finish_reason

    app = App()
    app.add(agent)
    await begin(app, sim, PRICES + '[[budgets]]\nname = "all"\nusd = "17"\n')
    assert await ground.result(await ground.start("agent", None)) == "length"
    assert await spent(ground) == 17


async def test_a_price_that_nobody_knows_is_refused_where_money_is_bounded(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    async def agent() -> str:
        client = anthropic.AsyncAnthropic()
        await client.messages.create(model="nobody-knows-it-1", max_tokens=5, messages=ASK)
        return "ok"

    app = App()
    app.add(agent)
    await begin(app, sim, '[[budgets]]\nname = "all"\nusd = "17"\n')
    run = await ground.until(await ground.start("agent", None))
    assert run.state == "failed"
    assert "[[prices]]" in (run.error or {})["message"]
    assert sim.calls() == []


@pytest.mark.parametrize(
    ("per", "asked"), [("run", ["ok", "ok", "402"]), ("agent", ["ok", "ok", "402"])]
)
async def test_budgets_are_somebodys(
    ground: Ground, begin: Begin, sim: ProviderSimulator, per: str, asked: list[str]
) -> None:
    async def agent() -> list[str]:
        return [await ask() for _ in range(3)]

    app = App()
    app.add(agent)
    app.add(agent, name="other")
    await begin(app, sim, PRICES + f'[[budgets]]\nname = "own"\nusd = "40"\nper = "{per}"\n')
    assert await ground.result(await ground.start("agent", None)) == asked
    assert await ground.result(await ground.start("other", None)) == asked


async def test_a_refused_run_says_which_budget_and_when_it_begins_anew(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    async def agent() -> None:
        client = anthropic.AsyncAnthropic()
        await client.messages.create(model="claude-sonnet-5-5", max_tokens=20, messages=ASK)

    app = App()
    app.add(agent)
    text = '[[budgets]]\nname = "tiny"\nusd = "1"\nevery = "day"\nper = "tenant"\n'
    await begin(app, sim, PRICES + text)
    run = await ground.until(await ground.start("agent", None))
    assert run.state == "failed"
    message = (run.error or {})["message"]
    assert "'tiny'" in message
    assert "has $1 of $1 left" in message
    assert "begins anew at" in message
