"""The process-wide patch (docs/decisions/0016-adk-patch.md): where ADK runs a tool. Outside a run
nothing changes, and ``uninstall`` takes it out.

Tool classes are wrapped one by one, also those that are made later: ``run_async`` says which call
this is, and the tool's own body (``FunctionTool._invoke_callable``, ``_run_async_impl`` of tools
with credentials, else ``run_async`` itself) is the effect.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, cast

from google.adk.tools.base_tool import BaseTool
from google.adk.tools.function_tool import FunctionTool

from perdure.core.ports import current_boundary
from perdure.frameworks.branches import branch
from perdure.frameworks.google_adk.tools import (
    Asked,
    Seam,
    asked,
    branch_name,
    perform_tool,
    seam,
)
from perdure.runtime.place import Place
from perdure.slot import Slot, Slots


def install() -> None:
    """Catch the tool calls of runs from now on. May be called often."""
    _slots.fill()
    setattr(BaseTool, "__init_subclass__", classmethod(_born))  # noqa: B010
    _cover_all(BaseTool)


def uninstall() -> None:
    """Take the patch out: tools are what ADK made them, in runs too."""
    if installed():
        del BaseTool.__init_subclass__
    _slots.clear()


def _born(cls: Any, /, **kwargs: Any) -> None:
    super(BaseTool, cls).__init_subclass__(**kwargs)
    _cover(cls)


def _cover_all(cls: type[BaseTool]) -> None:
    _cover(cls)
    for below in cls.__subclasses__():
        _cover_all(below)


def _cover(cls: type) -> None:
    for name, around in (("run_async", _run_async), ("_run_async_impl", _run_async_impl)):
        method = cls.__dict__.get(name)
        if inspect.iscoroutinefunction(method):
            _slots.add(cls, name, around)


def _run_async(original: Callable[..., Any]) -> Callable[..., Any]:
    async def run_async(self: BaseTool, *, args: dict[str, Any], tool_context: Any) -> Any:
        place, around = current_boundary.get(), asked.get()
        if place is None or (around is not None and around.tool is self):
            return await original(self, args=args, tool_context=tool_context)
        name = branch_name(self, args, tool_context)
        token = asked.set(Asked(self, args, tool_context))
        try:
            with branch(name):
                if seam(self) is not Seam.WHOLE:
                    return await original(self, args=args, tool_context=tool_context)

                async def body() -> Any:
                    return await original(self, args=args, tool_context=tool_context)

                return await perform_tool(cast("Place", place), body)
        finally:
            asked.reset(token)

    return run_async


def _run_async_impl(original: Callable[..., Any]) -> Callable[..., Any]:
    async def run_async_impl(self: BaseTool, **kwargs: Any) -> Any:
        place, call = current_boundary.get(), asked.get()
        if place is None or call is None or call.tool is not self or call.inside:
            return await original(self, **kwargs)

        async def body() -> Any:
            return await original(self, **kwargs)

        return await perform_tool(cast("Place", place), body)

    return run_async_impl


def _invoke_callable(original: Callable[..., Any]) -> Callable[..., Any]:
    async def invoke_callable(self: FunctionTool, target: Any, args_to_call: Any) -> Any:
        place, call = current_boundary.get(), asked.get()
        if (
            place is None
            or call is None
            or call.tool is not self
            or call.inside
            or target is not self.func  # what says whether to ask for confirmation
            or seam(self) is not Seam.BODY
        ):
            return await original(self, target, args_to_call)

        async def body() -> Any:
            return await original(self, target, args_to_call)

        function = None if _is_async(target) else functools.partial(target, **args_to_call)
        return await perform_tool(cast("Place", place), body, in_thread=function)

    return invoke_callable


def _is_async(target: Any) -> bool:
    """Whether it is awaited on the loop. What is neither clearly stays where ADK calls it."""
    if inspect.isfunction(target) or inspect.ismethod(target):
        return inspect.iscoroutinefunction(target) or any(
            parameter.kind is parameter.POSITIONAL_ONLY
            for parameter in inspect.signature(target).parameters.values()
        )
    return True


_slots = Slots(Slot(FunctionTool, "_invoke_callable", _invoke_callable))
installed = _slots.filled  # whether the patch is in
