"""One call that the model made of a function as one effect.

Invariants: the effect is around the agent's whole toolset, so whatever wraps a tool is part of it;
its digest is of the validated arguments; what a body did to its run (usage of agents inside it,
messages it enqueued) is recorded with its result and done again in a replay. ``ModelRetry`` and
``ToolFailed`` are what a tool answers the model, so they are outcomes and not failures.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, cast

from pydantic_ai import Agent
from pydantic_ai._function_schema import FunctionSchema
from pydantic_ai.exceptions import ApprovalRequired, CallDeferred, ModelRetry
from pydantic_ai.usage import RunUsage

from perdure.codec import canonical
from perdure.core.digest import digest
from perdure.core.ports import current_boundary
from perdure.core.record import Kind, Promise
from perdure.errors import EffectTimeout
from perdure.frameworks.plain import plain
from perdure.frameworks.promises import asked_about, hinted, promised
from perdure.frameworks.pydantic_ai.bodies import BodyThreads
from perdure.frameworks.pydantic_ai.places import calling
from perdure.frameworks.pydantic_ai.values import Outcome, ToolFailed, ToolValues
from perdure.frameworks.results import returned_by
from perdure.runtime.call import Call
from perdure.runtime.declared import Declared
from perdure.runtime.performing import perform
from perdure.runtime.place import Place

# By these a tool asks to be called again when somebody has decided: no outcome.
_CONTROL = (ApprovalRequired, CallDeferred)

# The function of the tool whose effect the calling code is in, until it is called.
_own: ContextVar[FunctionSchema | None] = ContextVar("perdure_pydantic_ai_own", default=None)


@dataclass(frozen=True, slots=True)
class Calling:
    """A toolset whose next call is an effect, asked for by the model in ``call``."""

    toolset: Any
    call: Any

    async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: Any, tool: Any) -> Any:
        """As ``AbstractToolset.call_tool``."""
        schema = _function_of(tool)
        if schema is not None and hasattr(schema.function, "__perdure__"):
            return await self.toolset.call_tool(name, tool_args, ctx, tool)  # an effect itself

        async def body(ctx: Any) -> Any:
            token = _own.set(schema)
            try:
                return await self.toolset.call_tool(name, tool_args, ctx, tool)
            finally:
                _own.reset(token)

        metadata = tool.tool_def.metadata or {}
        return await _perform(
            cast("Place", current_boundary.get()),
            name=name,
            args=tool_args,
            ctx=ctx,
            call_id=self.call.tool_call_id,
            hint=hinted(metadata.get("annotations")),
            returns=_returns(schema),
            body=body,
        )


async def perform_function(
    place: Place,
    schema: FunctionSchema,
    original: Callable[..., Any],
    args: dict[str, Any],
    ctx: Any,
) -> Any:
    """``FunctionSchema.call``: an effect where it is an output function's."""
    if _own.get() is schema:  # the tool's effect is open, and this is its body
        token = _own.set(None)
        try:
            return await original(schema, args, ctx)
        finally:
            _own.reset(token)
    if ctx.partial_output or hasattr(schema.function, "__perdure__"):
        return await original(schema, args, ctx)

    async def body(ctx: Any) -> Any:
        return await original(schema, args, ctx)

    return await _perform(
        place,
        name=schema.name,
        args=args,
        ctx=ctx,
        call_id=ctx.tool_call_id,
        hint=Promise.UNDECLARED,
        returns=_returns(schema),
        body=body,
    )


async def _perform(
    place: Place,
    *,
    name: str,
    args: dict[str, Any],
    ctx: Any,
    call_id: str | None,
    hint: Promise,
    returns: Any,
    body: Callable[[Any], Any],
) -> Any:
    content = {key: plain(value) for key, value in args.items()}
    declared = _declared(place, name, content, hint)

    async def function() -> Outcome:
        return await _outcome(name, ctx, body, once=declared.effect is Promise.ONCE)

    request = digest(canonical(content))
    with calling(ctx.run_step, name, call_id, request):
        outcome: Outcome = await perform(
            place,
            Call(
                declared,
                function,
                (),
                {},
                ToolValues(name, returns),
                request,
                control=_CONTROL,
                arguments=lambda: content,
                call_id=call_id,
            ),
        )
    if outcome.usage is not None:
        ctx.usage.incr(outcome.usage)
    for message in outcome.enqueued:
        ctx.pending_messages.append(message)
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


async def _outcome(name: str, ctx: Any, body: Callable[[Any], Any], *, once: bool) -> Outcome:
    """What the body comes to. It gets a usage and a queue of its own, since the run's are shared
    with whatever runs beside it."""
    before, queue = ctx.usage, ctx.pending_messages
    usage = copy(before)
    usage.details = dict(before.details)
    start = copy(usage)
    start.details = dict(usage.details)
    own = replace(ctx, usage=usage, pending_messages=None if queue is None else type(queue)())
    value: Any = None
    error: ModelRetry | ToolFailed | None = None
    with Agent.using_thread_executor(BodyThreads()):
        try:
            value = await body(own)
        except ToolFailed as failed:
            error = failed
        except ModelRetry as retry:
            if once and isinstance(retry.__context__, TimeoutError):
                raise EffectTimeout(f"tool {name!r}: {retry.message}") from retry
            error = retry
    enqueued = tuple(own.pending_messages or ())
    return Outcome(value, error, _spent(start, usage), enqueued)


def _spent(start: RunUsage, end: RunUsage) -> RunUsage | None:
    if start == end:
        return None
    spent = end - start if hasattr(RunUsage, "__sub__") else _difference(start, end)
    return spent if spent.has_values() else None


def _difference(start: RunUsage, end: RunUsage) -> RunUsage:
    """For versions of Pydantic AI whose usages cannot be subtracted."""
    spent = copy(end)
    for field, value in vars(end).items():
        if isinstance(value, int):
            setattr(spent, field, value - getattr(start, field))
    spent.details = {
        key: count - start.details.get(key, 0)
        for key, count in end.details.items()
        if count != start.details.get(key, 0)
    }
    return spent


def _declared(place: Place, name: str, content: dict[str, Any], hint: Promise) -> Declared:
    said = promised(place, name)
    if said is None:
        return Declared(Kind.TOOL, name, hint)
    return asked_about(said, kwargs=content, outcome=Outcome)


def _function_of(tool: Any) -> FunctionSchema | None:
    """The function that a toolset's tool leads to, through the toolsets that combine others."""
    while (inner := getattr(tool, "source_tool", None)) is not None:
        tool = inner
    schema = getattr(getattr(tool, "call_func", None), "__self__", None)
    return schema if isinstance(schema, FunctionSchema) else None


def _returns(schema: FunctionSchema | None) -> Any:
    return None if schema is None else returned_by(schema.function)
