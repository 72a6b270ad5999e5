"""The process-wide patch (docs/decisions/0017-pydantic-ai-patch.md): where Pydantic AI executes a
tool that the model called, runs an output function, and asks who answers a deferred call. Outside
a run nothing changes, and ``uninstall`` takes it out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

from pydantic_ai._function_schema import FunctionSchema
from pydantic_ai.tool_manager import ToolManager

from perdure.core.ports import current_boundary
from perdure.frameworks.pydantic_ai.deferred import answers
from perdure.frameworks.pydantic_ai.places import enter
from perdure.frameworks.pydantic_ai.tools import Calling, perform_function
from perdure.runtime.place import Place
from perdure.slot import Slot, Slots


def _for_run_step(original: Callable[..., Any]) -> Callable[..., Any]:
    """Every agent comes by here before it asks its model."""

    async def for_run_step(self: ToolManager[Any], ctx: Any) -> Any:
        if current_boundary.get() is not None:
            enter(ctx.run_step)
        return await original(self, ctx)

    return for_run_step


def _raw_execute(original: Callable[..., Any]) -> Callable[..., Any]:
    """What is asked of the toolset is the effect; retries, usage and hooks around it are counted
    and called in every attempt."""

    async def raw_execute(self: ToolManager[Any], validated: Any, *args: Any, **kwargs: Any) -> Any:
        if current_boundary.get() is None:
            return await original(self, validated, *args, **kwargs)
        manager = copy.copy(self)  # shares what it counts in
        manager.toolset = cast("Any", Calling(self.toolset, validated.call))
        return await original(manager, validated, *args, **kwargs)

    return raw_execute


def _call(original: Callable[..., Any]) -> Callable[..., Any]:
    """Functions that the model calls otherwise than as tools: output functions."""

    async def call(self: FunctionSchema, args_dict: dict[str, Any], ctx: Any) -> Any:
        place = current_boundary.get()
        if place is None:
            return await original(self, args_dict, ctx)
        return await perform_function(cast("Place", place), self, original, args_dict, ctx)

    return call


def _resolve_deferred_tool_calls(original: Callable[..., Any]) -> Callable[..., Any]:
    """What nobody in the agent answers is asked of the run's watchers."""

    async def resolve(self: ToolManager[Any], requests: Any) -> Any:
        results = await original(self, requests)
        if current_boundary.get() is None:
            return results
        return await answers(self.ctx, requests, results)

    return resolve


_slots = Slots(
    Slot(ToolManager, "for_run_step", _for_run_step),
    Slot(ToolManager, "_raw_execute", _raw_execute),
    Slot(ToolManager, "resolve_deferred_tool_calls", _resolve_deferred_tool_calls),
    Slot(FunctionSchema, "call", _call),
)
# Catch the tool calls of runs from now on (may be called often), whether they are caught, and leave
# tools what Pydantic AI made them, in runs too.
install, installed, uninstall = _slots.fill, _slots.filled, _slots.clear
