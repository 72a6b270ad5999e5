"""The tools of an agent, as far as they can be told without running it, so that a promise for a
tool that does not exist is an error at start."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from pydantic_ai.agent import AbstractAgent
from pydantic_ai.output import TextOutput, ToolOutput
from pydantic_ai.toolsets import (
    CombinedToolset,
    ExternalToolset,
    FunctionToolset,
    PrefixedToolset,
    RenamedToolset,
    WrapperToolset,
)


class _Unknown(Exception):
    """A toolset whose tools are known when it runs."""


def tools(agent: AbstractAgent[Any, Any]) -> set[str]:
    """Names of the agent's tools and output functions; empty where they cannot all be told (MCP
    servers, dynamic toolsets, tools that prepare themselves, capabilities)."""
    try:
        found = {name for toolset in agent.toolsets for name in _names(toolset)}
    except _Unknown:
        return set()
    return found | set(_functions(agent.output_type))


def _names(toolset: Any) -> set[str]:
    if isinstance(toolset, FunctionToolset):
        if any(tool.prepare is not None for tool in toolset.tools.values()):
            raise _Unknown
        return set(toolset.tools)
    if isinstance(toolset, ExternalToolset):
        return {definition.name for definition in toolset.tool_defs}
    if isinstance(toolset, CombinedToolset):
        return {name for inner in toolset.toolsets for name in _names(inner)}
    if isinstance(toolset, PrefixedToolset):
        return {f"{toolset.prefix}_{name}" for name in _names(toolset.wrapped)}
    if isinstance(toolset, RenamedToolset):
        new = {old: name for name, old in toolset.name_map.items()}
        return {new.get(name, name) for name in _names(toolset.wrapped)}
    if isinstance(toolset, WrapperToolset) and type(toolset).get_tools is WrapperToolset.get_tools:
        return _names(toolset.wrapped)
    if isinstance(toolset, WrapperToolset) and type(toolset).__module__.startswith("pydantic_ai."):
        return _names(toolset.wrapped)  # filtered, prepared: no other names
    raise _Unknown


def _functions(output: Any) -> Iterator[str]:
    if isinstance(output, list | tuple):
        for one in output:
            yield from _functions(one)
    elif isinstance(output, ToolOutput):
        yield from _functions(output.output)
    elif isinstance(output, TextOutput):
        yield from _functions(output.output_function)
    elif inspect.isfunction(output) or inspect.ismethod(output):
        yield output.__name__
