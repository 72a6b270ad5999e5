"""An object of ADK as an agent, as it is (see ``adapt``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from google.adk.agents.base_agent import BaseAgent
from google.adk.agents.invocation_context import LlmCallsLimitExceededError
from google.adk.apps.app import App
from google.adk.artifacts.in_memory_artifact_service import InMemoryArtifactService
from google.adk.memory.in_memory_memory_service import InMemoryMemoryService
from google.adk.runners import Runner
from google.adk.sessions.in_memory_session_service import InMemorySessionService
from google.adk.tools.agent_tool import AgentTool
from google.adk.tools.base_tool import BaseTool
from google.adk.tools.base_toolset import BaseToolset
from google.genai.errors import APIError

from perdure.errors import TargetError
from perdure.frameworks.branches import here
from perdure.frameworks.google_adk.agent_run import run_agent
from perdure.frameworks.google_adk.patch import install
from perdure.frameworks.google_adk.shapes import input_schema, read_input
from perdure.frameworks.promises import declared_tools
from perdure.runtime.agent import Agent

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt
    from perdure.runtime.policy import Policy


def adapt(target: Any, *, name: str | None, tools: Mapping[str, Any], policy: Policy) -> Agent:
    """An agent (``LlmAgent``, ``SequentialAgent`` ...), a ``Workflow``, an ``App`` or a
    ``Runner``. ``tools`` declares promises. Raises TargetError, and ConfigError for a tool that
    the agent does not have."""
    runner = _runner(target)
    agent = runner.agent
    name = name or str(getattr(agent, "name", None) or runner.app_name)
    declared = declared_tools(name, tools, sorted(_tools(agent) or ())) if tools else {}
    install()
    return Agent(
        name=name,
        invoke=partial(_invoke, runner),
        policy=replace(policy, fatal=(*policy.fatal, LlmCallsLimitExceededError)),
        framework="google-adk",
        description=str(getattr(agent, "description", None) or ""),
        namer=here,
        schema=input_schema,
        check=partial(read_input, agent=name),
        target=target,
        tools=declared,
    )


async def _invoke(runner: Runner, attempt: Attempt, value: Any) -> Any:
    """google-genai says ``code`` for an HTTP status, and ADK wraps what its agents raise: whether
    another attempt is worth it is told by the status."""
    try:
        return await run_agent(runner, attempt, value)
    except Exception as error:
        inner: BaseException | None = error
        while inner is not None and not isinstance(inner, APIError):
            inner = getattr(inner, "error", None) or inner.__cause__
        if isinstance(inner, APIError) and not hasattr(error, "status_code"):
            error.status_code = inner.code  # type: ignore[attr-defined]
        raise


def _runner(target: Any) -> Runner:
    if isinstance(target, Runner):
        return target
    services: dict[str, Any] = {
        "session_service": InMemorySessionService(),
        "artifact_service": InMemoryArtifactService(),
        "memory_service": InMemoryMemoryService(),
    }
    if isinstance(target, App):
        return Runner(app=target, **services)
    if isinstance(target, BaseAgent):
        return Runner(app_name=_app_name(target.name), agent=target, **services)
    if _is_node(target):
        return Runner(app_name=_app_name(target.name), node=target, **services)
    raise TargetError(
        f"{target!r} is a {type(target).__name__} of ADK, but no agent that runs here.",
        hint="Give an agent, a Workflow, an App or a Runner.",
    )


def _is_node(target: Any) -> bool:
    """A ``Workflow`` or another node of ADK 2."""
    return any(base.__name__ == "BaseNode" for base in type(target).__mro__)


def _app_name(name: str) -> str:
    """ADK takes an identifier, and has ``user`` for itself."""
    found = re.sub(r"\W", "_", name)
    return "agent" if found == "user" else found


def _tools(agent: Any) -> set[str] | None:
    """The names of the tools of the agent and of those below it; None where they cannot be told,
    because a toolset knows them."""
    found: set[str] = set()
    waiting, seen = [agent], set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if not isinstance(each, BaseAgent):
            return None
        waiting += each.sub_agents
        for tool in getattr(each, "tools", None) or ():
            if isinstance(tool, BaseToolset):
                return None
            if isinstance(tool, AgentTool):
                waiting.append(tool.agent)
            found.add(tool.name if isinstance(tool, BaseTool) else tool.__name__)
    return found
