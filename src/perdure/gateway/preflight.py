"""Preflight of whole runs: before a run's first attempt begins, what it will probably take is held,
tokens in its models' limits and money in its budgets; or it is told when there may be room.

Tokens are held as in ``perdure.core.admission.preflight``: told again each second, and forgotten
five seconds after a worker is gone. Money is set aside as plans of ``perdure.core.budget`` are, and
a worker's are forgotten a minute after it is gone. Both end when the run does, or parks.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import orjson

from perdure.config import AgentConfig, dollars
from perdure.core.admission.limits import Pool
from perdure.core.admission.preflight import Go, Holds, NoRoom, Plan, hold, preflight
from perdure.core.admission.state import State, decode, fresh
from perdure.core.budget import Account, Answer, Spender, Verdict
from perdure.core.period import ends
from perdure.core.ports import About, Standstill
from perdure.core.shared import Shared
from perdure.gateway.admission import States
from perdure.gateway.aside import Aside
from perdure.gateway.desk import Desk
from perdure.gateway.meters import Named
from perdure.gateway.pasts import Pasts, Used
from perdure.gateway.purse import named
from perdure.gateway.usage import Usage
from perdure.gateway.wallet import Wallet

BEAT_S = 1.0
BUSY_S = 5.0  # a run that waits for money that others hold looks again after so long
NOTHING = Plan(0, 0, 0, 0, 0.0)
PoolsOf = Callable[[str, str, str], tuple[Pool, ...]]


class _Agent:
    """``holds``: of this agent's runs here, under a name of its own in the documents, so that what
    it holds in its pools is not held in other agents' too. ``lock``: whoever writes them."""

    def __init__(self, settings: AgentConfig, name: str) -> None:
        self.settings = settings
        self.holds = Holds(name)
        self.lock = asyncio.Lock()
        self.pools: dict[str, Pool] = {}


class _Run:
    __slots__ = ("agent", "aside", "began", "name", "spent", "used")

    def __init__(self, agent: _Agent, name: str, began: float) -> None:
        self.agent = agent
        self.name = name  # of the agent
        self.began = began
        self.aside: Aside | None = None
        self.spent = NOTHING
        self.used: dict[Used, None] = {}


class Preflights:
    """Of one worker and one event loop. ``meters`` keep the pools; ``pools`` says which a model
    needs room in."""

    def __init__(
        self,
        agents: Mapping[str, AgentConfig],
        meters: Shared,
        wallet: Wallet,
        pasts: Pasts,
        worker: str,
        pools: PoolsOf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._numbers = itertools.count(1)
        self._agents = {
            name: _Agent(settings, f"{worker}/{next(self._numbers)}")
            for name, settings in agents.items()
            if settings.preflight != "off"
        }
        self._meters = meters
        self._wallet = wallet
        self._pasts = pasts
        self._pools_of = pools
        self._clock = clock
        self._pools: dict[str, Pool] = {}
        self._desk: Desk[States] = Desk(
            meters, lambda opening: States(opening, {k: self._pools[k] for k in opening.documents})
        )
        self._runs: dict[str, _Run] = {}
        self._beating: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # -- a run begins and ends --------------------------------------------------------------------

    async def begin(self, about: About, *, resumed: bool) -> Standstill | None:
        """See ``perdure.core.ports.Preflight``."""
        agent = self._agents.get(about.agent)
        if agent is None or about.run_id is None:
            return None
        plan = await self._plan(agent, about)
        run = _Run(agent, about.agent, self._clock())
        if not resumed:
            refused = await self._money(run, plan, about)
            if refused is None:
                try:
                    refused = await self._room(run, plan, about.run_id)
                except BaseException:
                    self._give_back(run)
                    raise
                if refused is not None:
                    self._give_back(run)
            if refused is not None:
                return refused
        elif agent.pools and (now := self._desk.now()) is not None:
            agent.holds.start(about.run_id, plan, now)
        self._runs[about.run_id] = run
        if self._beating is None or self._beating.done():
            self._beating = asyncio.get_running_loop().create_task(self._beat())
        return None

    async def look(self, about: About) -> Standstill | None:
        """The same for a run that is to be made, without holding anything."""
        agent = self._agents.get(about.agent)
        if agent is None:
            return None
        plan = await self._plan(agent, about)
        hard, amount = await self._accounts(plan, about)
        if amount:
            verdict = await self._wallet.may_set_aside(hard, amount)
            if verdict.hold is None:
                return self._no_money(agent, verdict, amount)
        if not agent.pools:
            return None
        swapped = await self._meters.swap(sorted(agent.pools))
        states: dict[str, State] = {}
        for key, pool in agent.pools.items():
            found = swapped.documents[key]
            states[key] = (
                decode(orjson.loads(found.body), pool)
                if found.version
                else fresh(pool, swapped.now, full=swapped.fresh)
            )
        # Under a name that nobody has: what this worker holds stays in the way.
        answer = preflight(states, Holds("?"), plan, None, swapped.now)
        return None if isinstance(answer, Go) else self._no_room(agent, answer)

    def follows(self, about: About) -> bool:
        """Whether what a run takes is looked at."""
        return about.run_id in self._runs

    def spent(self, about: About, used: Usage | None, cost: int, model: Used | None) -> None:
        """A call of a run is over, now or in an earlier attempt."""
        run = self._runs.get(about.run_id or "")
        if run is None:
            return
        before = run.spent
        read, said = (used.input, used.output) if used is not None else (0, 0)
        run.spent = Plan(
            before.calls + 1, before.input + read, before.output + said, before.cost + cost,
            self._clock() - run.began,
        )  # fmt: skip
        if used is not None and model is not None:
            run.used[model] = None
        run.agent.holds.spent(about.run_id or "", run.spent)

    def end(self, run_id: str, *, succeeded: bool) -> None:
        """See ``perdure.core.ports.Preflight``."""
        run = self._runs.pop(run_id, None)
        if run is None:
            return
        run.agent.holds.end(run_id)
        if succeeded and run.spent.calls:
            took = self._clock() - run.began
            spent = run.spent
            took_all = Plan(spent.calls, spent.input, spent.output, spent.cost, took)
            self._pasts.ended(run.name, took_all, list(run.used))
        self._give_back(run)
        if run.agent.pools:
            task = asyncio.get_running_loop().create_task(self._write(run.agent))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give back what is left."""
        for run_id in list(self._runs):
            self.end(run_id, succeeded=False)
        if self._beating is not None:
            self._beating.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        await self._pasts.close()

    # -- what it needs ----------------------------------------------------------------------------

    async def _plan(self, agent: _Agent, about: About) -> Plan:
        plan, models = await self._pasts.of(about.agent, agent.settings)
        for one in models:
            for pool in self._pools_of(*one):
                # Of a model that is only declared the credential is not known, nor the pool of
                # limits that each has for itself.
                if (pool_named := Named.of(pool.key)) is not None and pool_named.credential:
                    agent.pools[pool.key] = self._pools[pool.key] = pool
        return plan

    async def _accounts(self, plan: Plan, about: About) -> tuple[Sequence[Account], int]:
        """The hard budgets that a run is charged to, and what it needs in each. A run that may
        spend more than a whole budget needs all of it."""
        if plan.cost <= 0:
            return (), 0
        charged = await self._wallet.accounts(
            Spender(about.run_id or "", about.session, about.agent, about.feature, about.tenant)
        )
        hard = [account for account in charged if account.budget.hard]
        amount = min([plan.cost, *(account.budget.usd for account in hard)])
        return hard, amount if hard else 0

    async def _money(self, run: _Run, plan: Plan, about: About) -> Standstill | None:
        hard, amount = await self._accounts(plan, about)
        if not amount:
            return None
        got = await self._wallet.set_aside(hard, amount)
        if isinstance(got, Verdict):
            return self._no_money(run.agent, got, amount)
        run.aside = got
        return None

    def aside(self, run_id: str | None) -> Aside | None:
        """The money that a run has set aside."""
        run = self._runs.get(run_id or "")
        return run.aside if run is not None else None

    def _no_money(self, agent: _Agent, verdict: Verdict, amount: int) -> Standstill:
        now = self._wallet.now()
        at: float | None = now + BUSY_S
        if verdict.answer is Answer.SPENT:
            at = ends(verdict.account.budget.every, now) if verdict.account is not None else None
        detail = (
            f"{named(verdict.account)} has {dollars(verdict.left)} left that no other run "
            f"holds, and a run of this agent is expected to cost {_about(amount)}"
        )
        return _standstill(agent, at, detail)

    async def _room(self, run: _Run, plan: Plan, run_id: str) -> Standstill | None:
        agent = run.agent
        if not agent.pools:
            return None
        async with agent.lock:
            keys = sorted(agent.pools)
            answer = await self._desk.ask(
                keys,
                lambda session: preflight(
                    {key: session.states[key] for key in keys}, agent.holds, plan, None,
                    session.now,
                ),
                firm=lambda answer: isinstance(answer, Go),
            )  # fmt: skip
            if isinstance(answer, NoRoom):
                return self._no_room(agent, answer)
            agent.holds.start(run_id, plan, self._desk.now() or 0.0)
        return None

    def _no_room(self, agent: _Agent, answer: NoRoom) -> Standstill:
        pool, limit = answer.bound
        detail = f"no room for a whole run of this agent in {pool} ({limit})"
        return _standstill(agent, answer.at, detail)

    # -- holding ----------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """As long as runs hold anything, so that the others know that this worker is there."""
        while self._runs:
            await asyncio.sleep(BEAT_S)
            busy = {run.agent for run in self._runs.values()}
            await asyncio.gather(*(self._write(agent) for agent in busy if agent.pools))

    async def _write(self, agent: _Agent) -> None:
        async with agent.lock:
            keys = sorted(agent.pools)

            def act(session: States) -> None:
                hold({key: session.states[key] for key in keys}, agent.holds, session.now)

            await self._desk.ask(keys, act)

    def _give_back(self, run: _Run) -> None:
        aside, run.aside = run.aside, None
        if aside is not None:
            self._wallet.give_back_soon(aside)


def _about(cost: int) -> str:
    """What was learned is not known to the nano-dollar."""
    return "$" + f"{cost / 1e9:.4f}".rstrip("0").rstrip(".")


def _standstill(agent: _Agent, at: float | None, detail: str) -> Standstill:
    until = None if at is None else datetime.fromtimestamp(at, UTC)
    return Standstill(until, detail, agent.settings.preflight == "strict")
