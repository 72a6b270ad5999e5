"""The process-wide patch (docs/decisions/0018-openai-agents-patch.md) and its off switch.

What is replaced of the SDK: its default runner (which it lets be set), the function with which it
invokes a tool and the one with which it tells the model of a failure, and the ``run`` of
guardrails, which it puts into tasks of their own; in versions before 0.24 the function that makes
tools of MCP tools, which forgets what the server says of them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from agents import run as sdk_run
from agents.guardrail import InputGuardrail, OutputGuardrail
from agents.mcp import MCPUtil
from agents.run import AgentRunner

from perdure.errors import TargetError
from perdure.frameworks.openai_agents.places import within
from perdure.frameworks.openai_agents.runner import RecordedRunner
from perdure.frameworks.openai_agents.tools import honest, recording
from perdure.slot import Slots

# Where the SDK invokes a tool, newest first: the function, and the modules that hold it.
_INVOKERS = ("_invoke_function_tool_with_metadata", "invoke_function_tool")
_TELLER = "maybe_invoke_function_tool_failure_error_function"
_HOLDERS = ("agents.tool", "agents.run_internal.tool_execution")

_slots = Slots()
_real: list[AgentRunner] = []  # the runner that was the default before


def install() -> None:
    """Catch what runs do through the SDK, from now on. May be called often. Raises TargetError
    for a version of the SDK whose tools cannot be caught."""
    invoker = next((n for n in _INVOKERS if hasattr(import_module(_HOLDERS[0]), n)), None)
    if invoker is None:
        raise TargetError(
            "The tool calls of this version of openai-agents cannot be caught.",
            hint="See docs/compatibility.md for the versions that were tested.",
        )
    for name, around in ((invoker, recording), (_TELLER, honest)):
        if hasattr(import_module(_HOLDERS[0]), name):
            for holder in _HOLDERS:
                _slots.add(import_module(holder), name, around)
    for guardrail in (InputGuardrail, OutputGuardrail):
        _slots.add(guardrail, "run", _named)
    _slots.add(MCPUtil, "to_function_tool", _keeping_hints)
    _slots.fill()
    if not _real:
        _real.append(sdk_run.get_default_agent_runner())
        sdk_run.set_default_agent_runner(RecordedRunner(_real[0]))


def uninstall() -> None:
    """Take the patch out: tools and sessions are what the SDK made them, in runs too."""
    _slots.clear()
    while _real:
        sdk_run.set_default_agent_runner(_real.pop())


installed = _slots.filled  # whether the patch is in


def _keeping_hints(original: Callable[..., Any]) -> Callable[..., Any]:
    """What an MCP server says of a tool is on the SDK's tool since 0.24."""

    def to_function_tool(cls: Any, tool: Any, *args: Any, **kwargs: Any) -> Any:
        made = original(cls, tool, *args, **kwargs)
        if not hasattr(made, "_mcp_annotations"):
            made._mcp_annotations = tool.annotations
        return made

    return to_function_tool


def _named(original: Callable[..., Any]) -> Callable[..., Any]:
    async def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        with within(f"guardrail.{self.get_name()}"):
            return await original(self, *args, **kwargs)

    return run
