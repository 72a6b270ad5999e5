"""A run whose expected tokens or money are not there does not begin: it waits in the queue with a
time, or is refused at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import anthropic
import httpx2
import orjson
import pytest

from perdure import wait_for
from perdure.app import App
from perdure.assembly import capturing
from perdure.config import Config
from perdure.core.budget import balance
from perdure.core.ports import About
from perdure.core.shared import Swap, Swapped
from perdure.gateway.board import Board
from perdure.gateway.meters import limits_for
from perdure.gateway.pasts import Pasts
from perdure.gateway.preflight import Preflights
from perdure.gateway.wallet import Wallet
from perdure.runtime.worker import Worker, WorkerSettings
from perdure.server.asgi import make_app
from perdure.server.service import Service
from perdure.store import Store
from perdure.store.rows import Filter
from perdure.testing.redirect import redirect
from perdure.testing.simulator import ProviderSimulator, Sizes, load
from tests.integration.gateway.conftest import Begin
from tests.integration.stage import HOSTS, Tally
from tests.running import Ground

ASK: Any = [{"role": "user", "content": "Say something."}]
PRICES = """
[[prices]]
model = "*"
input = 0
output = 1_000_000
"""  # a dollar a token of output
DAY = """
[[limits]]
provider = "anthropic"
tpd = {tpd}
[agents.agent]
preflight = "{mode}"
expected_tokens = {tokens}
models = ["anthropic/claude-sonnet-5-5"]
"""
MONEY = """
[[budgets]]
name = "all"
usd = "{usd}"
[agents.agent]
preflight = "{mode}"
expected_cost = "{cost}"
"""


async def ask(bound: int = 20) -> None:
    client = anthropic.AsyncAnthropic()
    await client.messages.create(model="claude-sonnet-5-5", max_tokens=bound, messages=ASK)


@pytest.fixture
async def sim() -> AsyncIterator[ProviderSimulator]:
    with ProviderSimulator(load(Sizes("fixed", mean=20))) as made:
        yield made


def asking(tally: Tally) -> App:
    """An agent that stands still after its call where that is held."""

    async def agent() -> str:
        tally.done.append("begun")
        await ask()
        await tally.note("asked")
        return "done"

    app = App()
    app.add(agent)
    return app


async def test_a_run_without_headroom_waits_with_a_time_and_makes_no_call(
    ground: Ground, begin: Begin, sim: ProviderSimulator, tally: Tally
) -> None:
    tally.hold("asked")
    await begin(asking(tally), sim, DAY.format(tpd=10_000, tokens=6_000, mode="wait"))
    first = await ground.start("agent", None)
    await tally.reached("asked")
    second = await ground.start("agent", None)
    waiting = await ground.until(second, "waiting")
    [wait] = waiting.waits
    assert wait["reason"] == "quota"
    assert datetime.fromisoformat(wait["until"]) > await ground.store.now()
    assert "tokens/86400" in wait["detail"]
    assert waiting.attempts == 0
    assert tally.done == ["begun", "asked"]  # no code of the second run was executed
    assert not await ground.store.journal(second)
    tally.release("asked")
    await ground.result(first)


async def test_it_begins_when_there_is_room(
    ground: Ground, begin: Begin, sim: ProviderSimulator, tally: Tally
) -> None:
    tally.hold("asked")
    await begin(asking(tally), sim, DAY.format(tpd=10_000, tokens=6_000, mode="wait"))
    first = await ground.start("agent", None)
    await tally.reached("asked")
    second = await ground.start("agent", None)
    await ground.until(second, "waiting")
    tally.release("asked")
    assert await ground.result(first) == "done"
    # What the first held and did not use is free: whoever looks again sees it.
    await ground.store.redrive(second)
    assert await ground.result(second) == "done"
    assert (await ground.store.get(second)).attempts == 0


async def test_two_runs_do_not_both_take_the_last_money(
    ground: Ground, begin: Begin, sim: ProviderSimulator, tally: Tally
) -> None:
    tally.hold("asked")
    text = PRICES + MONEY.format(usd=50, cost=30, mode="wait")
    await begin(asking(tally), sim, text)
    runs = [await ground.start("agent", None) for _ in range(2)]
    await tally.reached("asked")
    found = [await ground.until(run, "running", "waiting") for run in runs]
    async with asyncio.timeout(10):
        while {run.state for run in found} != {"running", "waiting"}:
            await asyncio.sleep(0)
            found = [await ground.store.get(run) for run in runs]
    [waiting] = [run for run in found if run.state == "waiting"]
    [other] = [run for run in runs if run != waiting.id]
    assert "the budget 'all'" in waiting.waits[0]["detail"]
    tally.release("asked")
    await ground.result(other)
    await ground.store.redrive(waiting.id)
    await ground.result(waiting.id)  # 20 were spent, and 30 are left


async def test_calls_draw_on_what_was_set_aside_and_leave_it_when_they_cost_less(
    ground: Ground, begin: Begin, sim: ProviderSimulator, tally: Tally
) -> None:
    async def agent() -> str:
        # Each reserves 25 and costs 20; without its plan's money the third would find none.
        for _ in range(3):
            await ask(25)
        await tally.note("asked")
        return "done"

    app = App()
    app.add(agent)
    tally.hold("asked")
    end = await begin(app, sim, PRICES + MONEY.format(usd=70, cost=70, mode="wait"))
    run = await ground.start("agent", None)
    await tally.reached("asked")

    async def state() -> tuple[int, int, int]:
        [document] = (await ground.store.listed("budget/")).documents.values()
        return tuple(part // 10**9 for part in balance(document.body, 0.0))  # type: ignore[return-value]

    assert await state() == (60, 0, 10)
    tally.release("asked")
    await ground.result(run)
    await end()
    assert await state() == (60, 0, 0)


async def test_strict_refuses_at_once(
    ground: Ground, begin: Begin, sim: ProviderSimulator, tally: Tally
) -> None:
    tally.hold("asked")
    await begin(asking(tally), sim, DAY.format(tpd=10_000, tokens=6_000, mode="strict"))
    first = await ground.start("agent", None)
    await tally.reached("asked")
    second = await ground.start("agent", None)
    failed = await ground.until(second, "failed")
    assert failed.error is not None
    assert failed.error["code"] == "no_headroom"
    tally.release("asked")
    await ground.result(first)
    assert sim.accounting().total.requests == 1


async def test_money_that_does_not_come_by_waiting_fails_the_run(
    ground: Ground, begin: Begin, sim: ProviderSimulator, tally: Tally
) -> None:
    await begin(asking(tally), sim, PRICES + MONEY.format(usd=30, cost=30, mode="wait"))
    await ground.result(await ground.start("agent", None))
    failed = await ground.until(await ground.start("agent", None), "failed")
    assert failed.error is not None
    assert "is expected to cost $30" in failed.error["message"]


async def test_a_strict_agent_is_refused_where_the_run_is_made(
    ground: Ground,
    settings: Callable[[str], Config],
    sim: ProviderSimulator,
    tally: Tally,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-any")
    config = settings(DAY.format(tpd=10_000, tokens=6_000, mode="strict"))
    app = asking(tally)
    worker = Worker(ground.store, ground.blobs, app.agents, WorkerSettings())
    tally.hold("asked")
    with redirect(dict.fromkeys(HOSTS, sim.url)):
        async with capturing(config, worker.runtime):
            await worker.start()
            ground.workers.append(worker)
            service = Service(app.agents, config, ground.store, worker)
            transport = httpx2.ASGITransport(make_app(service))
            async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
                first = await http.post("/api/agents/agent/runs", json={"input": None})
                assert first.status_code == 202
                await tally.reached("asked")
                refused = await http.post("/api/agents/agent/runs", json={"input": None})
            assert refused.status_code == 429
            assert refused.json()["code"] == "no_headroom"
            assert int(refused.headers["retry-after"]) > 0
            assert len(await ground.store.find(Filter())) == 1
            tally.release("asked")
            await ground.result(first.json()["id"])
            ground.workers.remove(worker)
            await worker.stop()


async def test_what_a_run_takes_is_learned_from_those_before(
    ground: Ground, begin: Begin, sim: ProviderSimulator, tally: Tally
) -> None:
    text = PRICES + "[agents.agent]\npreflight = 'wait'\n"
    text += "[[limits]]\nprovider = 'anthropic'\ntpd = 1_000_000\n"
    end = await begin(asking(tally), sim, text)
    await ground.result(await ground.start("agent", None))
    await end()
    [document] = (await ground.store.listed("past/")).documents.values()
    found = orjson.loads(document.body)
    [[provider, model, _]] = found["models"]
    assert (provider, model) == ("anthropic", "claude-sonnet-5-5")
    # A run like it needs 20 dollars: a budget that has less does not let it begin.
    budget = '[[budgets]]\nname = "all"\nusd = "30"\n'
    await begin(asking(tally), sim, text + budget)
    await ground.result(await ground.start("agent", None))
    failed = await ground.until(await ground.start("agent", None), "failed")
    assert failed.error is not None
    assert "expected to cost $20." in failed.error["message"]


async def test_a_run_that_goes_on_does_not_wait_again(
    ground: Ground, begin: Begin, sim: ProviderSimulator, tally: Tally
) -> None:
    async def agent() -> str:
        await ask()
        await wait_for("go")
        return "done"

    app = App()
    app.add(agent)
    await begin(app, sim, PRICES + MONEY.format(usd=30, cost=30, mode="wait"))
    run = await ground.start("agent", None)
    await ground.until(run, "waiting")
    await ground.store.signal(run, "go", b"null")
    assert await ground.result(run) == "done"  # 10 are left of the 30 that it was to have


class Shifted:
    """The store's documents, by a clock that can be put forward."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.ahead = timedelta()

    async def swap(self, reads: Sequence[str], swaps: Sequence[Swap] = ()) -> Swapped:
        found = await self._store.swap(reads, swaps)
        return found._replace(now=found.now + self.ahead.total_seconds())

    async def listed(self, prefix: str, limit: int = 1000) -> Swapped:
        return await self._store.listed(prefix, limit)


async def test_what_a_dead_worker_held_is_free_again(
    ground: Ground, settings: Callable[[str], Config]
) -> None:
    text = DAY.format(tpd=10_000, tokens=6_000, mode="wait") + "expected_cost = '6'\n"
    config = settings(text + '[[budgets]]\nname = "all"\nusd = "10"\nevery = "day"\n')
    keeper = Shifted(ground.store)

    def preflights(worker: str) -> Preflights:
        return Preflights(
            config.agents, keeper, Wallet(keeper, config.budgets, worker),
            Pasts(Board(keeper)), worker, lambda *key: limits_for(config.limits, *key),
        )  # fmt: skip

    def run(name: str) -> About:
        return About(name, "agent")

    dead = preflights("dead")
    assert await dead.begin(run("1"), resumed=False) is None
    if dead._beating is not None:
        dead._beating.cancel()  # it was killed: nothing of it is heard again
    refused = await preflights("b").begin(run("2"), resumed=False)
    assert refused is not None
    assert "budget" in refused.detail
    keeper.ahead = timedelta(seconds=61)
    other = preflights("c")
    assert await other.begin(run("3"), resumed=False) is None
    await other.close()
