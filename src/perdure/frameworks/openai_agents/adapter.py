"""An agent of the OpenAI Agents SDK as an agent of Perdure, as it is (see ``adapt``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agents import (
    Agent as SdkAgent,
)
from agents import (
    InputGuardrailTripwireTriggered,
    MaxTurnsExceeded,
    ModelBehaviorError,
    OutputGuardrailTripwireTriggered,
    RunConfig,
    Runner,
)

from perdure.core.ports import current_boundary
from perdure.errors import TargetError, UsageError
from perdure.frameworks.openai_agents.approvals import wait_for_approvals
from perdure.frameworks.openai_agents.options import Configured
from perdure.frameworks.openai_agents.patch import install
from perdure.frameworks.openai_agents.servers import connected, reachable
from perdure.frameworks.openai_agents.shapes import SCHEMA, output, read_input
from perdure.frameworks.promises import declared_tools
from perdure.runtime.agent import Agent

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt
    from perdure.runtime.policy import Policy

# The agent's own last word, or the model's recorded answer: the same run fails alike.
_FATAL = (
    InputGuardrailTripwireTriggered, OutputGuardrailTripwireTriggered, MaxTurnsExceeded,
    ModelBehaviorError,
)  # fmt: skip


def adapt(target: Any, *, name: str | None, tools: Mapping[str, Any], policy: Policy) -> Agent:
    """An ``agents.Agent``, or one that is :class:`Configured`. ``tools`` declares promises. Raises
    TargetError, and ConfigError for a tool that none of its agents has."""
    configured = target if isinstance(target, Configured) else Configured(target)
    agent = configured.agent
    if not isinstance(agent, SdkAgent):
        raise TargetError(f"{agent!r} is no agent of the OpenAI Agents SDK that runs here.")
    name = name or agent.name
    declared = declared_tools(name, tools, _tools(agent)) if tools else {}
    install()

    async def invoke(attempt: Attempt, value: Any) -> Any:
        return await _run(configured, attempt, read_input(value, agent=name))

    return Agent(
        name=name,
        invoke=invoke,
        policy=replace(policy, fatal=(*policy.fatal, *_FATAL)),
        framework="openai-agents",
        description=agent.handoff_description or "",
        schema=lambda: SCHEMA,
        check=lambda value: read_input(value, agent=name),
        target=target,
        tools=declared,
    )


def _tools(agent: SdkAgent[Any]) -> set[str]:
    """The tools of ``agent`` and of those it leads to; none where MCP servers add theirs."""
    agents = list(reachable(agent))
    if any(each.mcp_servers for each in agents):
        return set()
    return {tool.name for each in agents for tool in each.tools}


async def _run(configured: Configured, attempt: Attempt, source: Any) -> Any:
    lease = getattr(attempt, "lease", None)  # none with durability="none"
    conversation = (lease.session if lease is not None else None) or attempt.run_id
    options: dict[str, Any] = {
        "max_turns": configured.max_turns,
        "run_config": configured.run_config
        or RunConfig(workflow_name=configured.agent.name, group_id=attempt.run_id),
    }
    if configured.session is not None:
        options["session"] = configured.session(conversation)
    if configured.context is not None:
        options["context"] = configured.context(source)
    async with connected(configured.agent):
        while True:
            result = await _once(configured, source, options)
            if not result.interruptions:
                return output(result.final_output)
            if current_boundary.get() is None:
                raise UsageError(
                    f"A tool of agent {configured.agent.name!r} needs an approval, and with "
                    "durability='none' nothing is kept that could go on with one.",
                    hint="Leave durability at its default for agents that ask.",
                )
            source = await wait_for_approvals(result)
            options.pop("context", None)  # the state has it


async def _once(configured: Configured, source: Any, options: dict[str, Any]) -> Any:
    """The agent until its end, or until it has to ask."""
    if not configured.stream:
        return await Runner.run(configured.agent, source, **options)
    result = Runner.run_streamed(configured.agent, source, **options)
    async for _ in result.stream_events():
        pass  # the run's log has the tokens from the gateway, and the rest from the hooks
    return result
