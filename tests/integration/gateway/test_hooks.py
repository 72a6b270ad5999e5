"""What an App hangs into the gateway: who is told of a crossed budget, which route a call takes."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from perdure import difficulty
from perdure.app import App
from perdure.config import AgentConfig, Config
from perdure.core.hooks import BudgetCrossed, usd
from perdure.core.record import RecordType
from perdure.core.routing import Asked
from perdure.testing.simulator import ProviderSimulator, Sizes, load
from tests.integration.gateway.conftest import Begin
from tests.running import Ground

# A dollar a token of output, and the prompt for nothing.
PRICES = '[[prices]]\nmodel = "*"\ninput = 0\noutput = 1_000_000\n'
BUDGET = '[[budgets]]\nname = "all"\nusd = "100"\nsoft = ["50%", 1.0]\n'
ROUTES = """
[[routes]]
name = "plain"
model = ["claude-*"]
[[routes.targets]]
name = "same"
[[routes]]
name = "small"
model = ["never"]
[[routes.targets]]
name = "little"
model = "claude-haiku-4-5"
"""


@pytest.fixture
async def sim() -> AsyncIterator[ProviderSimulator]:
    with ProviderSimulator(load(Sizes("fixed", mean=20))) as made:
        yield made


async def ask(n: int) -> None:
    messages: Any = [{"role": "user", "content": f"Say something, for the {n}th time."}]
    client = anthropic.AsyncAnthropic()
    await client.messages.create(model="claude-sonnet-5-5", max_tokens=20, messages=messages)


async def four() -> None:
    for n in range(4):
        await ask(n)


async def crossings(ground: Ground, run: str) -> list[str]:
    return [
        (event.value or b"").decode()
        for event in await ground.events(run)
        if event.type == RecordType.WARNING and event.name == "budget_soft"
    ]


async def test_a_crossing_is_told_once_in_the_run_and_to_the_hook(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    told: list[BudgetCrossed] = []
    heard = asyncio.Event()

    async def on_budget(crossed: BudgetCrossed) -> None:
        told.append(crossed)
        heard.set()

    app = App(on_budget=on_budget)
    app.add(four)
    await begin(app, sim, PRICES + BUDGET)
    run = await ground.start("four", None)
    await ground.result(run)
    async with asyncio.timeout(10):
        await heard.wait()
    # 20 dollars a call: the third one crosses 50 of 100.
    [event] = await crossings(ground, run)
    assert "budget 'all' has crossed $50: $60 of $100 are spent" in event
    [crossed] = told
    assert (crossed.budget, crossed.per, crossed.subject) == ("all", "all", "")
    assert [usd(n) for n in (crossed.soft, crossed.spent, crossed.amount)] == [50, 60, 100]
    assert (crossed.agent, crossed.run_id) == ("four", run)
    [worker] = ground.workers
    assert worker.runtime.counters["perdure_budget_soft_total", (("budget", "all"),)] == 1
    last = await ground.start("four", None)
    assert (await ground.until(last)).state == "failed"  # 100 of 100 are spent on the way
    assert len(await crossings(ground, last)) == 1


async def test_a_hook_that_is_not_async_blocks_nobody(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    gate, called = threading.Event(), threading.Event()

    def on_budget(crossed: BudgetCrossed) -> None:
        called.set()
        gate.wait(30)

    app = App(on_budget=on_budget)
    app.add(four)
    await begin(app, sim, PRICES + BUDGET)
    try:
        await ground.result(await ground.start("four", None))
        assert await asyncio.to_thread(called.wait, 10)
    finally:
        gate.set()


async def test_a_hook_that_fails_is_logged(
    ground: Ground, begin: Begin, sim: ProviderSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    def on_budget(crossed: BudgetCrossed) -> None:
        raise RuntimeError("no line to the chat")

    def route(asked: Asked) -> str:
        raise RuntimeError("no idea")

    app = App(on_budget=on_budget, route=route)
    app.add(four)
    caplog.set_level(logging.ERROR, "perdure.hooks")
    end = await begin(app, sim, PRICES + BUDGET + ROUTES)
    await ground.result(await ground.start("four", None))
    await end()
    said = " ".join(record.exc_text or "" for record in caplog.records)
    assert "no line to the chat" in said
    assert "no idea" in said
    assert {call.model for call in sim.calls()} == {"claude-sonnet-5-5"}


async def test_the_app_chooses_the_route(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    seen: list[Asked] = []

    def route(asked: Asked) -> str | None:
        seen.append(asked)
        return "small" if asked.difficulty == "easy" else None

    app = App(route=route)

    @app.agent
    async def agent() -> None:
        with difficulty("easy"):
            await ask(1)
        await ask(2)

    await begin(app, sim, ROUTES)
    await ground.result(await ground.start("agent", None))
    assert [call.model for call in sim.calls()] == ["claude-haiku-4-5", "claude-sonnet-5-5"]
    assert [(asked.agent, asked.difficulty) for asked in seen] == [("agent", "easy"), ("agent", "")]


async def test_a_route_that_there_is_not_is_the_calls_error(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    app = App(route=lambda asked: "nowhere")

    @app.agent
    async def agent() -> str:
        try:
            await ask(1)
        except anthropic.APIStatusError as error:
            return str(error)
        return ""

    await begin(app, sim, ROUTES)
    assert "'nowhere', which is no route" in await ground.result(await ground.start("agent", None))


def test_settings_of_an_agent_keep_its_apps_hooks() -> None:
    app = App(route=lambda asked: None)
    app.add(four)
    for config in (AgentConfig(), AgentConfig(tools={"look": "reads"})):
        assert app.configured(Config(agents={"four": config}))["four"].hooks is app.hooks
