"""A Pydantic AI agent as an agent, as it is (see ``adapt``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic_ai.agent import AbstractAgent
from pydantic_ai.exceptions import UnexpectedModelBehavior, UsageLimitExceeded, UserError

from perdure.errors import TargetError
from perdure.frameworks.promises import declared_tools
from perdure.frameworks.pydantic_ai import discover
from perdure.frameworks.pydantic_ai.agent_run import run
from perdure.frameworks.pydantic_ai.options import Configured
from perdure.frameworks.pydantic_ai.patch import install
from perdure.frameworks.pydantic_ai.places import here
from perdure.frameworks.pydantic_ai.shapes import (
    Dependencies,
    input_schema,
    output_type,
    read_input,
)
from perdure.runtime.agent import Agent

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt
    from perdure.runtime.policy import Policy

# Of the agent and what its models said, not of the world: the same journal fails alike.
_FATAL = (UnexpectedModelBehavior, UsageLimitExceeded, UserError)


def adapt(target: Any, *, name: str | None, tools: Mapping[str, Any], policy: Policy) -> Agent:
    """An ``Agent``, a ``WrapperAgent``, or one of them ``Configured``. ``tools`` declares promises.
    Raises TargetError, and ConfigError for a tool that the agent does not have or for ``deps`` that
    come from nowhere."""
    configured = target if isinstance(target, Configured) else Configured(target)
    agent = configured.agent
    if not isinstance(agent, AbstractAgent):
        raise TargetError(
            f"{agent!r} is a {type(agent).__name__} of Pydantic AI, but no agent.",
            hint="Give a pydantic_ai.Agent.",
        )
    name = name or agent.name or "agent"
    declared = declared_tools(name, tools, discover.tools(agent)) if tools else {}
    deps = Dependencies(agent, name, configured.deps)
    install()

    async def invoke(attempt: Attempt, value: Any) -> Any:
        given = read_input(value, deps, agent=name)
        return await run(configured, deps, given, attempt, agent=name)

    return Agent(
        name=name,
        invoke=invoke,
        policy=replace(policy, fatal=(*policy.fatal, *_FATAL)),
        framework="pydantic_ai",
        description=str(getattr(agent, "description", None) or ""),
        namer=here,
        output_type=output_type(agent),
        schema=lambda: input_schema(deps),
        check=lambda value: read_input(value, deps, agent=name),
        target=target,
        tools=declared,
    )
