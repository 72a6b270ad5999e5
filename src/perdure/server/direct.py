"""Agents declared ``durability="none"``: executed in the server's own process, with no run in the
store and no journal. Their steps are plain function calls, and Perdure's verbs say that they were
called outside a run. Their model calls keep limits and budgets like all others, and stand in the
ledger.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from perdure.core.ports import About, current_account
from perdure.errors import PerdureError, RunFailed, RunTimeout
from perdure.runtime.agent import Agent

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt
    from perdure.runtime.runtime import Runtime


class Direct:
    """What an agent's ``invoke`` needs of an attempt, where there is none."""

    __slots__ = ("agent_name", "run_id")

    def __init__(self, agent: Agent) -> None:
        self.run_id = str(uuid4())
        self.agent_name = agent.name

    def output(self, item: Any) -> None:
        """A streaming agent's pieces are gathered into its result; nobody watches."""


async def perform(
    agent: Agent, data: bytes, runtime: Runtime | None = None, *, tenant: str = ""
) -> tuple[str, bytes]:
    """(id, result as codec bytes) of ``agent`` on an input. Its model calls are counted and charged
    as ``tenant``'s by the gateway of ``runtime``, if it has one. Raises InvalidInput, RunTimeout,
    the agent's own PerdureErrors, and RunFailed for anything else it raises."""
    direct = Direct(agent)
    value = agent.decode_input(data)
    limit = agent.policy.timeout
    account = None
    if runtime is not None and runtime.account is not None:
        about = About(agent=agent.name, tenant=tenant, priority=agent.policy.priority)
        account = runtime.account(about, limit.total_seconds() if limit else math.inf)
    token = current_account.set(account)
    try:
        if limit is None:
            result = await agent.invoke(cast("Attempt", direct), value)
        else:
            async with asyncio.timeout(limit.total_seconds()) as bound:
                result = await agent.invoke(cast("Attempt", direct), value)
    except PerdureError:
        raise
    except Exception as error:
        if limit is not None and isinstance(error, TimeoutError) and bound.expired():
            raise RunTimeout(
                f"Agent {agent.name!r} took longer than {limit.total_seconds():g} s."
            ) from error
        raise RunFailed(
            f"{type(error).__qualname__}: {error}", agent=agent.name, run=direct.run_id
        ) from error
    finally:
        current_account.reset(token)
    return direct.run_id, agent.encode_output(result)
