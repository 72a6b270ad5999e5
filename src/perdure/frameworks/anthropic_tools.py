"""Tools of Anthropic's tool runner (``@beta_tool``, ``client.beta.messages.tool_runner``): their
calls become effects in agents that are plain functions.

Process-wide patch of the four classes' ``call``, documented in
docs/decisions/0004-langchain-tool-patch.md; outside a run nothing changes, and ``uninstall`` takes
it out. Validation of arguments is inside the effect; the runner's handling of errors is outside.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

from anthropic.lib.tools import (
    BetaAsyncBuiltinFunctionTool,
    BetaAsyncFunctionTool,
    BetaBuiltinFunctionTool,
    BetaFunctionTool,
    ToolError,
)

from perdure.codec import canonical
from perdure.core.digest import digest
from perdure.core.ports import current_boundary
from perdure.core.record import Kind
from perdure.frameworks.promises import asked_about, promised
from perdure.runtime.call import ByAnnotation, Call
from perdure.runtime.declared import Declared
from perdure.runtime.performing import perform, perform_blocking
from perdure.runtime.place import Place
from perdure.slot import Slots

REFUSAL = "$tool_error"
_BASES: tuple[type, ...] = (
    BetaFunctionTool, BetaAsyncFunctionTool, BetaBuiltinFunctionTool, BetaAsyncBuiltinFunctionTool,
)  # fmt: skip
_slots = Slots()


def install() -> None:
    """Catch the tool calls of runs from now on. May be called often: tools of classes that were
    made since are then caught too."""
    _slots.fill()
    for base in _BASES:
        for cls in (base, *_below(base)):
            method = cls.__dict__.get("call")
            if method is not None and not getattr(method, "__isabstractmethod__", False):
                _slots.add(cls, "call", _caught)


uninstall = _slots.clear  # takes the patch out


def _below(cls: type) -> list[type]:
    subs: list[type] = cls.__subclasses__()
    return [below for sub in subs for below in (sub, *_below(sub))]


def _caught(original: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(original):

        async def call(self: Any, input: object) -> Any:
            place = current_boundary.get()
            if place is None or _is_effect_itself(self):
                return await original(self, input)

            async def body() -> Any:
                try:
                    return _whole(await original(self, input))
                except ToolError as error:
                    return {REFUSAL: _whole(error.content)}

            here = cast("Place", place)
            return _told(await perform(here, _effect(here, self, input, body)))

        return call

    def call_sync(self: Any, input: object) -> Any:
        place = current_boundary.get()
        if place is None or _is_effect_itself(self):
            return original(self, input)

        def body() -> Any:
            try:
                return _whole(original(self, input))
            except ToolError as error:
                return {REFUSAL: _whole(error.content)}

        here = cast("Place", place)
        return _told(perform_blocking(here, _effect(here, self, input, body)))

    return call_sync


def _effect(place: Place, tool: Any, input: object, body: Callable[..., Any]) -> Call:
    declared = promised(place, tool.name) or Declared(Kind.TOOL, tool.name)
    asked = input if isinstance(input, dict) else {}
    return Call(
        asked_about(declared, kwargs=asked),
        body,
        (),
        {},
        ByAnnotation(None, tool.name),
        digest(canonical(input)),
        arguments=lambda: input,
    )


def _is_effect_itself(tool: Any) -> bool:
    """A function that is a ``@perdure.tool`` or ``@perdure.step`` already."""
    return hasattr(getattr(tool, "func", None), "__perdure__")


def _told(result: Any) -> Any:
    """A ``ToolError`` is the tool's answer to the model, not a failure of the effect."""
    if isinstance(result, dict):
        raise ToolError(result[REFUSAL])
    return result


def _whole(result: Any) -> Any:
    """Text, or a list of content blocks: the runner takes any iterable of them."""
    return result if isinstance(result, str) else list(result)
