"""An object of Agent Framework as an agent, as it is (see ``adapt``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from agent_framework import (
    AgentExecutor,
    BaseAgent,
    FunctionalWorkflow,
    FunctionalWorkflowAgent,
    FunctionTool,
    Workflow,
    WorkflowAgent,
    WorkflowBuilder,
    WorkflowConvergenceException,
)

from perdure.errors import TargetError
from perdure.frameworks.agent_framework.agent_run import run_agent
from perdure.frameworks.agent_framework.copies import fresh
from perdure.frameworks.agent_framework.patch import install
from perdure.frameworks.agent_framework.shapes import input_schema, read_messages, read_session
from perdure.frameworks.agent_framework.workflow_run import (
    message_schema,
    read_message,
    run_workflow,
)
from perdure.frameworks.branches import here
from perdure.frameworks.promises import declared_tools
from perdure.runtime.agent import Agent

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt
    from perdure.runtime.policy import Policy


def adapt(target: Any, *, name: str | None, tools: Mapping[str, Any], policy: Policy) -> Agent:
    """An ``Agent`` (or another ``BaseAgent``), a ``Workflow``, a ``WorkflowBuilder``, or a
    functional workflow. ``tools`` declares promises. Raises TargetError, and ConfigError for a
    tool that the agent does not have."""
    # ``@workflow`` gives a definition, in older versions the workflow itself.
    if isinstance(target, WorkflowBuilder) or type(target).__name__ == (
        "FunctionalWorkflowDefinition"
    ):
        target = target.build()
    name = name or str(getattr(target, "name", None) or "agent")
    if isinstance(target, Workflow | FunctionalWorkflow):
        run: Any = partial(run_workflow, fresh(target))
        check: Any = partial(read_message, target, agent=name)
        known: list[str] = []
        schema: Callable[[], dict[str, Any] | None] = partial(message_schema, target)
    elif isinstance(target, BaseAgent) and not isinstance(
        target, WorkflowAgent | FunctionalWorkflowAgent
    ):
        run = partial(run_agent, target)
        check = partial(_check, agent=name)
        known = sorted(_tools(target))
        schema = input_schema
    else:
        raise TargetError(
            f"{target!r} is a {type(target).__name__} of Agent Framework, but no agent that runs "
            "here.",
            hint="Give an Agent, a Workflow (not its as_agent()), a WorkflowBuilder, or a "
            "@workflow function.",
        )
    declared = declared_tools(name, tools, known) if tools else {}
    install()
    return Agent(
        name=name,
        invoke=_telling(run),
        policy=replace(policy, fatal=(*policy.fatal, WorkflowConvergenceException)),
        framework="agent-framework",
        description=str(getattr(target, "description", None) or ""),
        namer=here,
        schema=schema,
        check=check,
        target=target,
        tools=declared,
    )


def _check(value: Any, *, agent: str) -> None:
    read_messages(value, agent=agent)
    read_session(value, agent=agent)


def _telling(
    run: Callable[[Attempt, Any], Awaitable[Any]],
) -> Callable[[Attempt, Any], Awaitable[Any]]:
    """Agent Framework hides what a provider said in an exception's cause: whether another attempt
    is worth it is told by that."""

    async def invoke(attempt: Attempt, value: Any) -> Any:
        try:
            return await run(attempt, value)
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None and not hasattr(cause, "status_code"):
                cause = cause.__cause__
            if cause is not None and cause is not error:
                for fact in ("status_code", "response"):
                    if not hasattr(error, fact):
                        setattr(error, fact, getattr(cause, fact, None))
            raise

    return invoke


def _tools(agent: BaseAgent) -> set[str]:
    """The names of the agent's tools and of its agents-as-tools' own; empty where an MCP server
    knows them."""
    found: set[str] = set()
    seen: set[int] = set()
    waiting = [agent]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, AgentExecutor) or getattr(each, "mcp_tools", None):
            return set()
        for tool in (getattr(each, "default_options", None) or {}).get("tools") or ():
            if isinstance(tool, FunctionTool):
                found.add(tool.name)
                waiting.extend(_agents(tool.func))
    return found


def _agents(function: Any) -> Iterator[BaseAgent]:
    """The agent behind a tool that ``as_tool`` made."""
    for cell in getattr(function, "__closure__", None) or ():
        try:
            if isinstance(cell.cell_contents, BaseAgent):
                yield cell.cell_contents
        except ValueError:  # not yet filled
            continue
