"""The process-wide patch (docs/decisions/0014-agent-framework-patch.md): where Agent Framework
invokes a tool, executes a workflow's executor, and hands on the messages between supersteps.
Outside a run nothing changes, and ``uninstall`` takes it out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

from agent_framework import Executor, FunctionTool, InProcRunnerContext

from perdure.core.ports import current_boundary
from perdure.frameworks.agent_framework.tools import Asked, asked, perform_tool
from perdure.frameworks.branches import branch
from perdure.runtime.place import Place
from perdure.slot import Slot, Slots


def _invoke(original: Callable[..., Any]) -> Callable[..., Any]:
    """Notes what is asked, in a branch named by the call's id (rule K3)."""

    async def invoke(self: FunctionTool, **kwargs: Any) -> Any:
        if current_boundary.get() is None:
            return await original(self, **kwargs)
        call_id = kwargs.get("tool_call_id")
        token = asked.set(Asked(self, call_id, bool(kwargs.get("skip_parsing"))))
        try:
            if call_id is None:
                return await original(self, **kwargs)
            with branch(call_id):
                return await original(self, **kwargs)
        finally:
            asked.reset(token)

    return invoke


def _invoke_function(original: Callable[..., Any]) -> Callable[..., Any]:
    """The tool's own body is the effect; checking its arguments and parsing its result are not."""

    async def invoke_function(self: FunctionTool, call_kwargs: Any) -> Any:
        place = current_boundary.get()
        if place is None:
            return await original(self, call_kwargs)
        return await perform_tool(cast("Place", place), self, original, dict(call_kwargs))

    return invoke_function


def _call(original: Callable[..., Any]) -> Callable[..., Any]:
    async def awaited(tool: FunctionTool, call_kwargs: dict[str, Any]) -> Any:
        result = original(tool, **call_kwargs)
        return await result if inspect.isawaitable(result) else result

    def call(self: FunctionTool, *args: Any, **kwargs: Any) -> Any:
        place, around = current_boundary.get(), asked.get()
        if place is None or around is None or around.tool is not self or args:
            return original(self, *args, **kwargs)
        return perform_tool(cast("Place", place), self, awaited, kwargs)

    return call


def _execute(original: Callable[..., Any]) -> Callable[..., Any]:
    """An executor is a branch with a stable name, whichever of several comes first."""

    async def execute(self: Executor, *args: Any, **kwargs: Any) -> Any:
        if current_boundary.get() is None:
            return await original(self, *args, **kwargs)
        with branch(self.id):
            return await original(self, *args, **kwargs)

    return execute


def _drain_messages(original: Callable[..., Any]) -> Callable[..., Any]:
    """Messages of parallel executors come in the order of the executors' ids, not in that in
    which they finished: else whoever receives them would see another order in a replay."""

    async def drain_messages(self: Any) -> Any:
        messages = await original(self)
        if current_boundary.get() is None:
            return messages
        return {source: messages[source] for source in sorted(messages)}

    return drain_messages


_slots = Slots(
    Slot(FunctionTool, "invoke", _invoke),
    # Older versions call the tool where they invoke it, and await what it gives.
    Slot(FunctionTool, "_invoke_function", _invoke_function)
    if hasattr(FunctionTool, "_invoke_function")
    else Slot(FunctionTool, "__call__", _call),
    Slot(Executor, "execute", _execute),
    Slot(InProcRunnerContext, "drain_messages", _drain_messages),
)
# Catch the tool calls of runs from now on (may be called often), whether they are caught, and leave
# tools what Agent Framework made them, in runs too.
install, installed, uninstall = _slots.fill, _slots.filled, _slots.clear
