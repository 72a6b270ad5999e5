"""One call of a tool as one effect.

Invariants: the digest is of what the model asked for, without what is injected; what a body
changed in its session is recorded with its result and comes back with it in a replay.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import agent_framework
from agent_framework import AgentSession, FunctionTool, MiddlewareTermination
from agent_framework.exceptions import UserInputRequiredException

from perdure.codec import canonical
from perdure.core.digest import digest
from perdure.core.record import Kind
from perdure.errors import BoundaryError
from perdure.frameworks.agent_framework.mcp import hint
from perdure.frameworks.agent_framework.values import Outcome, ToolValues
from perdure.frameworks.plain import plain
from perdure.frameworks.promises import asked_about, promised
from perdure.frameworks.results import returned_by
from perdure.runtime.call import Call, body_of
from perdure.runtime.closing import Ending
from perdure.runtime.declared import Declared
from perdure.runtime.performing import perform
from perdure.runtime.place import Place

# By these a body says how the conversation goes on: no outcome, so it is asked for again. Older
# versions have no MiddlewareFailure.
_CONTROL: tuple[type[BaseException], ...] = (
    MiddlewareTermination,
    UserInputRequiredException,
    getattr(agent_framework, "MiddlewareFailure", MiddlewareTermination),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A call on its way to the tool's body. ``raw``: its result will not be parsed."""

    tool: FunctionTool
    call_id: str | None
    raw: bool


asked: ContextVar[Asked | None] = ContextVar("perdure_agent_framework_asked", default=None)


async def perform_tool(
    place: Place, tool: FunctionTool, original: Callable[..., Any], call_kwargs: dict[str, Any]
) -> Any:
    """The body of ``tool`` (what ``original`` runs) as an effect; its raw result."""
    call = asked.get()
    if call is None or call.tool is not tool or _is_no_effect(tool):
        return await original(tool, call_kwargs)
    injected = getattr(tool, "_context_parameter_name", None)
    context = call_kwargs.get(injected) if injected else None
    content = {name: plain(value) for name, value in call_kwargs.items() if name != injected}

    async def body() -> Outcome:
        token = asked.set(None)
        try:
            return await _body(place, tool, original, call_kwargs, context)
        finally:
            asked.reset(token)

    outcome: Outcome = await perform(
        place,
        Call(
            await _declared(place, tool, content),
            body,
            (),
            {},
            ToolValues(tool.name, returned_by(_function(tool)), parsed=_parses_itself(tool, call)),
            digest(canonical(content)),
            control=_CONTROL,
            arguments=lambda: content,
            call_id=call.call_id,
        ),
    )
    session = getattr(context, "session", None)
    if session is not None:
        session.state.update(outcome.changed)
        for key in outcome.removed:
            session.state.pop(key, None)
    return outcome.value


async def _body(
    place: Place,
    tool: FunctionTool,
    original: Callable[..., Any],
    call_kwargs: dict[str, Any],
    context: Any,
) -> Outcome:
    session = getattr(context, "session", None)
    before = _state(session)
    tools = _live_tools(context)
    if _is_sync(tool):
        result = await body_of(partial(tool.__call__, **call_kwargs), (), {})
        if inspect.isawaitable(result):
            result = await result
    else:
        result = await original(tool, call_kwargs)
    if _live_tools(context) != tools:
        _refuse_new_tools(place, tool)
    after = _state(session)
    if session is None:
        return Outcome(result)
    changed = {key: session.state[key] for key in after if after[key] != before.get(key)}
    return Outcome(result, changed, tuple(key for key in before if key not in after))


def _refuse_new_tools(place: Place, tool: FunctionTool) -> None:
    """Ends the attempt: an exception would only be told to the model."""
    error = BoundaryError(
        f"The tool {tool.name!r} changed the agent's tools while it ran, which a replay could not "
        "repeat.",
        hint="Give the agent all of its tools from the start.",
    )
    place.attempt.closing.close(Ending.FAIL, error=error)
    raise error


def _state(session: AgentSession | None) -> dict[str, bytes]:
    """What the session's state is, to be compared."""
    if session is None:
        return {}
    return {key: canonical(plain(value)) for key, value in session.state.items()}


def _live_tools(context: Any) -> list[int]:
    return [id(tool) for tool in getattr(context, "tools", None) or ()]


def _function(tool: FunctionTool) -> Any:
    return tool.func.func if isinstance(tool.func, FunctionTool) else tool.func


def _is_sync(tool: FunctionTool) -> bool:
    """Whether Agent Framework would run it in a thread."""
    on_loop = getattr(tool, "_invoke_sync_on_event_loop", False)
    return not on_loop and not inspect.iscoroutinefunction(_function(tool))


def _is_no_effect(tool: FunctionTool) -> bool:
    """A function that is a ``@perdure.tool`` or ``@perdure.step`` already, and what only changes
    which tools of an MCP server are shown."""
    function = _function(tool)
    name = getattr(function, "__name__", "")
    return hasattr(function, "__perdure__") or name.endswith("_progressive_mcp_tool")


def _parses_itself(tool: FunctionTool, call: Asked) -> bool:
    """Whether only Agent Framework's own parser sees the raw result."""
    return not call.raw and tool.result_parser is None


async def _declared(place: Place, tool: FunctionTool, content: dict[str, Any]) -> Declared:
    said = promised(place, tool.name)
    if said is None:
        return Declared(Kind.TOOL, tool.name, await hint(tool))
    return asked_about(said, kwargs=content, outcome=Outcome)
