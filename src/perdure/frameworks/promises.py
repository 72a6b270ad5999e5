"""What a framework's tools promise (rule P2), said by ``tools=`` or hinted by MCP's annotations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from perdure.core.record import Kind, Promise
from perdure.errors import BoundaryError, ConfigError
from perdure.runtime.declared import Declared, declare
from perdure.runtime.place import Place


def declared_tools(
    agent: str, tools: Mapping[str, Any], known: Collection[str]
) -> dict[str, Declared]:
    """``tools`` of ``app.add`` as declarations. ``known``: the agent's tools, as far as they can be
    told (none: not at all). Raises ConfigError for a tool that is not there, or for no promise."""
    unknown = sorted(set(tools) - set(known))
    if known and unknown:
        raise ConfigError(
            f"Agent {agent!r} has no tool {unknown[0]!r}.",
            hint=f"Its tools: {', '.join(sorted(known))}",
        )
    return {tool: _declared(agent, tool, promise) for tool, promise in tools.items()}


def _declared(agent: str, tool: str, promise: Any) -> Declared:
    if isinstance(promise, Declared):
        return promise
    try:
        return declare(Kind.TOOL, tool, promise, None, None, None)
    except BoundaryError as error:
        known = ", ".join(p for p in Promise if p is not Promise.UNDECLARED)
        raise ConfigError(
            f"Tool {tool!r} of agent {agent!r} cannot promise {promise!r}.",
            hint=f"One of: {known}; or perdure.once(reconcile=...).",
        ) from error


def promised(place: Place, tool: str) -> Declared | None:
    """What the agent's ``tools=`` says of a tool."""
    said = place.attempt.agent.tools.get(tool)
    return replace(said, kind=Kind.TOOL, name=tool) if isinstance(said, Declared) else None


def asked_about(
    declared: Declared,
    *args: Any,
    kwargs: Mapping[str, Any],
    outcome: Callable[[Any], Any] = lambda answer: answer,
) -> Declared:
    """``declared``, its ``reconcile`` called with what the model asked for, and its answer made an
    ``outcome``, whatever the function in which the framework wraps the tool's body is called
    with."""
    reconcile = declared.reconcile
    if reconcile is None:
        return declared
    if inspect.iscoroutinefunction(reconcile):

        async def ask_async(*_: Any, **__: Any) -> Any:
            return outcome(await reconcile(*args, **kwargs))

        return replace(declared, reconcile=ask_async)

    def ask(*_: Any, **__: Any) -> Any:
        return outcome(reconcile(*args, **kwargs))

    return replace(declared, reconcile=ask)


def hinted(annotations: Any) -> Promise:
    """What an MCP tool says of itself: its ``ToolAnnotations``, or the same as a mapping."""

    def says(name: str, snake: str) -> bool:
        if isinstance(annotations, Mapping):
            return annotations.get(name) is True or annotations.get(snake) is True
        # Version 2 of the MCP library has the names of Python; asked for the others, what keeps
        # old code alive warns.
        current = snake if hasattr(annotations, snake) else name
        return getattr(annotations, current, None) is True

    if says("readOnlyHint", "read_only_hint"):
        return Promise.READS
    return Promise.IDEMPOTENT if says("idempotentHint", "idempotent_hint") else Promise.UNDECLARED
