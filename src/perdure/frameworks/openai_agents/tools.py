"""Function tools' calls become effects, at the one place where the Agents SDK invokes a tool.

Process-wide patch, documented in docs/decisions/0018-openai-agents-patch.md. The effect is around
the tool's own code: the SDK's approvals, guardrails, time limit, hooks and
``failure_error_function`` stay outside it and run again at each replay; the tool's code does not.
It covers whatever is a ``FunctionTool``: decorated functions, hand-made tools, tools of MCP
servers, agents as tools.

Invariants: a call is one effect, in a branch named by the call's id; its digest is of the arguments
the model gave; outside a run nothing changes; no tool object is changed, the SDK invokes a copy.
"""

from __future__ import annotations

import asyncio
import copy
import functools
from collections.abc import Callable
from typing import Any, cast

import orjson
from agents.exceptions import ModelBehaviorError
from agents.tool import FunctionTool

from perdure.codec import canonical
from perdure.core.digest import digest
from perdure.core.ports import current_boundary
from perdure.core.record import Kind, Promise
from perdure.errors import NotDone
from perdure.frameworks.openai_agents.places import calls, within
from perdure.frameworks.openai_agents.values import ToolValues
from perdure.frameworks.promises import asked_about, hinted, promised
from perdure.frameworks.results import returned_by
from perdure.runtime.call import Call
from perdure.runtime.declared import Declared
from perdure.runtime.performing import perform
from perdure.runtime.place import Place

_SYNC = "__agents_sync_function_tool__"
_BAD_ARGUMENTS = "Invalid JSON input for tool"


class Suspended(BaseException):
    """An agent that is run as a tool waits for an approval: the call has no outcome yet, and the
    SDK is going to make it again."""

    def __init__(self, value: Any) -> None:
        super().__init__("an agent run as a tool waits for an approval")
        self.value = value


def recording(original: Callable[..., Any]) -> Callable[..., Any]:
    """The SDK's ``original`` way to invoke a tool, with the tool's own code as an effect."""

    @functools.wraps(original)
    async def invoke(*, function_tool: FunctionTool, context: Any, arguments: str) -> Any:
        if current_boundary.get() is not None and not _is_effect_itself(function_tool):
            function_tool = recorded(function_tool, context)
        return await original(function_tool=function_tool, context=context, arguments=arguments)

    return invoke


def honest(original: Callable[..., Any]) -> Callable[..., Any]:
    """The SDK's ``original`` way to tell the model of a failure, but of none that there is not: it
    would make a message of a tool that was cancelled because the run is unwound (rule C2)."""

    @functools.wraps(original)
    async def tell(*, function_tool: FunctionTool, context: Any, error: BaseException) -> Any:
        place = cast("Place | None", current_boundary.get())
        if place is not None and isinstance(error, asyncio.CancelledError):
            closing = place.attempt.closing
            if closing.cutting or closing.cancelling:
                return None  # that is: no message, raise
        return await original(function_tool=function_tool, context=context, error=error)

    return tell


def recorded(tool: FunctionTool, context: Any) -> FunctionTool:
    """A copy of ``tool`` whose code is performed as an effect when it is called."""
    twin = copy.copy(tool)
    invoker: Any = tool.on_invoke_tool
    inner = getattr(invoker, "_invoke_tool_impl", None)
    if inner is None:
        twin.on_invoke_tool = _effect_around(invoker, tool, context)
        return twin
    # The SDK's own answer to a tool's failure stays outside: a failure is recorded as one.
    outer = type(invoker)(
        _effect_around(inner, tool, context),
        invoker._on_handled_error,
        function_tool=twin,
    )
    if getattr(invoker, _SYNC, False):
        setattr(outer, _SYNC, True)
    twin.on_invoke_tool = outer
    return twin


def _effect_around(inner: Callable[..., Any], tool: FunctionTool, context: Any) -> Any:
    @functools.wraps(inner)
    async def on_invoke_tool(ctx: Any, arguments: str) -> Any:
        call_id = str(context.tool_call_id)
        with within(call_id):
            place = cast("Place", current_boundary.get())
            token = calls.set((*calls.get(), call_id))
            try:
                return await perform(place, _call(place, tool, inner, context, ctx, arguments))
            except Suspended as waits:
                return waits.value
            finally:
                calls.reset(token)

    return on_invoke_tool


def _call(
    place: Place,
    tool: FunctionTool,
    inner: Callable[..., Any],
    context: Any,
    ctx: Any,
    arguments: str,
) -> Call:
    asked = _asked(arguments)
    declared = _declared(place, tool, asked)
    once = declared.effect is Promise.ONCE
    in_thread = getattr(tool.on_invoke_tool, _SYNC, False)

    async def body() -> Any:
        here = cast("Place", current_boundary.get())
        try:
            if in_thread:
                return await _to_its_end(here, inner(ctx, arguments))
            value = await inner(ctx, arguments)
        except ModelBehaviorError as error:
            # Bad arguments of the model: the tool's function was not called.
            if once and str(error).startswith(_BAD_ARGUMENTS):
                raise NotDone(str(error)) from error
            raise
        if _waits_for_approval(context):
            raise Suspended(value)
        return value

    return Call(
        declared,
        body,
        (),
        {},
        ToolValues(tool.name, _returns(tool)),
        digest(canonical(asked)),
        control=(Suspended,),
        direct=declared.timeout is None and declared.retries is None,
        arguments=lambda: asked,
        call_id=str(context.tool_call_id),
    )


def _asked(arguments: str) -> Any:
    """What the model gave, as JSON values where it is JSON."""
    try:
        return orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return arguments


async def _to_its_end(place: Place, coroutine: Any) -> Any:
    """A synchronous function, which the SDK runs in a thread: whoever turns away leaves it running,
    and the attempt waits for its end (rule C3)."""

    async def run() -> Any:
        place.mine()
        return await coroutine

    task = asyncio.ensure_future(run())
    place.attempt.bodies.count(task)
    return await asyncio.shield(task)


def _declared(place: Place, tool: FunctionTool, asked: Any) -> Declared:
    said = promised(place, tool.name)
    if said is None:
        return Declared(Kind.TOOL, tool.name, hinted(getattr(tool, "_mcp_annotations", None)))
    if isinstance(asked, dict):
        return asked_about(said, kwargs=asked)
    return asked_about(said, asked, kwargs={})


def _waits_for_approval(context: Any) -> bool:
    """Whether an agent that was run as this tool stopped to ask."""
    try:
        from agents.agent_tool_state import get_agent_tool_state_scope, peek_agent_tool_run_result
    except ImportError:  # versions in which such an agent could not ask
        return False
    call = getattr(context, "tool_call", None)
    if call is None:
        return False
    result = peek_agent_tool_run_result(call, scope_id=get_agent_tool_state_scope(context))
    return bool(getattr(result, "interruptions", None))


def _function(tool: FunctionTool) -> Callable[..., Any] | None:
    try:
        return cast("Callable[..., Any]", tool.__wrapped__)
    except AttributeError:
        return None


def _is_effect_itself(tool: FunctionTool) -> bool:
    """A function that is a ``@perdure.tool`` or ``@perdure.step`` already."""
    return hasattr(_function(tool), "__perdure__")


def _returns(tool: FunctionTool) -> Any:
    function = _function(tool)
    return None if function is None else returned_by(function)
