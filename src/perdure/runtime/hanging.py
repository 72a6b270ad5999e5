"""Calls what Apps have hung into the gateway (``core.hooks``). What they raise is logged: no model
call fails because of them, and none waits for who is told."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from perdure.core.budget import Crossing
from perdure.core.hooks import BudgetCrossed, SpendAnomaly
from perdure.core.ports import About
from perdure.core.routing import Asked

if TYPE_CHECKING:
    from perdure.runtime.runtime import Runtime

log = logging.getLogger("perdure.hooks")


class Hanging:
    """Of one worker and its event loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def choose(self) -> Callable[[Asked], str | None] | None:
        """``route``, where any App here has such a rule."""
        agents = self._runtime.agents.values()
        return self.route if any(agent.hooks.route is not None for agent in agents) else None

    def route(self, asked: Asked) -> str | None:
        """The route that the App of the calling agent names; None: none, or it failed."""
        agent = self._runtime.agents.get(asked.agent)
        choose = agent.hooks.route if agent is not None else None
        if choose is None:
            return None
        try:
            return choose(asked)
        except Exception:
            log.exception("The App's route for agent %r failed: the settings choose.", asked.agent)
            return None

    def crossed(self, crossing: Crossing, about: About) -> None:
        """A call of ``about`` crossed a soft amount of a budget."""
        budget = crossing.account.budget
        told = BudgetCrossed(
            budget.name, budget.per, crossing.account.subject, crossing.soft, crossing.spent,
            budget.usd, about.agent, about.tenant, about.run_id,
        )  # fmt: skip
        self._runtime.count("perdure_budget_soft_total", budget=budget.name)
        log.warning(
            "Budget %r%s: %.2f of %.2f dollars are spent.",
            budget.name,
            f" of {told.subject}" if told.subject else "",
            told.spent / 1e9,
            told.amount / 1e9,
            extra={"run_id": about.run_id, "agent": about.agent},
        )
        agent = self._runtime.agents.get(about.agent)
        if agent is not None and agent.hooks.on_budget is not None:
            self._tell(agent.hooks.on_budget, told)

    def strange(self, anomaly: SpendAnomaly) -> None:
        """Far more than usual is spent with a credential."""
        self._runtime.count("perdure_spend_anomalies_total", credential=anomaly.credential)
        log.warning(
            "Credential %r: %.2f dollars were spent in the hour of %s, usual are %.2f.",
            anomaly.credential or "(none)", anomaly.spent / 1e9, anomaly.hour, anomaly.usual / 1e9,
        )  # fmt: skip
        hooks = {agent.hooks.on_spend for agent in self._runtime.agents.values()}
        for hook in hooks - {None}:
            assert hook is not None
            self._tell(hook, anomaly)

    async def close(self) -> None:
        """Until everyone is told."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    def _tell(self, hook: Callable[[Any], Any], what: Any) -> None:
        task = asyncio.get_running_loop().create_task(_told(hook, what))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _told(hook: Callable[[Any], Any], what: Any) -> None:
    try:
        if inspect.iscoroutinefunction(hook):
            await hook(what)
            return
        answer = await asyncio.to_thread(hook, what)
        if inspect.isawaitable(answer):
            await answer
    except Exception:
        log.exception("A hook failed that was told of %s.", what)
