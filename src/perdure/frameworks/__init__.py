"""One file for each framework: an agent object becomes a callable under the runtime.

``adapt`` asks each adapter in turn whether the object is its kind; an adapter's module is imported
only when the object's own type comes from that framework.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

from perdure.errors import TargetError
from perdure.frameworks import patches
from perdure.frameworks.promises import declared_tools
from perdure.runtime.agent import Agent, from_function
from perdure.runtime.policy import Policy

# packages (or modules, where a package's name is anybody's) in an object's class hierarchy -> the
# adapter's module
_ADAPTERS = {
    "agents.agent": "perdure.frameworks.openai_agents",
    "perdure.frameworks.openai_agents.options": "perdure.frameworks.openai_agents",
    "langgraph": "perdure.frameworks.langgraph",
    "google.adk": "perdure.frameworks.google_adk",
    "agent_framework": "perdure.frameworks.agent_framework",
    "pydantic_ai": "perdure.frameworks.pydantic_ai",
    "perdure.frameworks.pydantic_ai.options": "perdure.frameworks.pydantic_ai",
}


def _adapter(module: str) -> str | None:
    parts = module.split(".")
    return next(
        (found for n in (1, 2, len(parts)) if (found := _ADAPTERS.get(".".join(parts[:n])))), None
    )


def adapt(
    target: Any, *, name: str | None, tools: Mapping[str, Any], policy: Policy | None = None
) -> Agent:
    """``target`` as an agent named ``name`` (default: its own name). ``tools`` of a plain function
    are those of the SDKs it calls. Raises TargetError for an object that no adapter knows."""
    for cls in type(target).__mro__:
        module = _adapter(cls.__module__)
        if module is not None:
            adapter = import_module(module)
            agent: Agent = adapter.adapt(target, name=name, tools=tools, policy=policy or Policy())
            return agent
    if callable(target) and not inspect.isclass(target):
        caught = patches.install_imported()
        agent = from_function(target, name=name, policy=policy)
        if not tools:
            return agent
        if not caught:
            raise TargetError(
                "tools= goes with a framework's agent; in plain code use @perdure.tool.",
            )
        return replace(agent, tools=declared_tools(agent.name, tools, ()))
    raise TargetError(
        f"{target!r} is a {type(target).__name__}: no agent that Perdure knows.",
        hint="Give a function, an App, or an agent of a framework: see docs/compatibility.md.",
    )
