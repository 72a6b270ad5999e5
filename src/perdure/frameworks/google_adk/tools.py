"""One call of a tool as one effect.

Invariants: the digest is of the model's arguments; what a body said to ADK beside its result
(changed state, a transfer, an escalation ...) is recorded with the result and comes back with it.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import blake2b
from typing import Any

from google.adk.events.event_actions import EventActions
from google.adk.tools.agent_tool import AgentTool
from google.adk.tools.base_tool import BaseTool
from google.adk.tools.function_tool import FunctionTool

from perdure.codec import canonical
from perdure.core.digest import digest
from perdure.core.record import Kind
from perdure.frameworks.google_adk.values import Outcome, ToolValues
from perdure.frameworks.plain import plain
from perdure.frameworks.promises import asked_about, hinted, promised
from perdure.frameworks.results import returned_by
from perdure.runtime.call import Call, body_of
from perdure.runtime.declared import Declared
from perdure.runtime.performing import perform
from perdure.runtime.place import Place

# ADK's own way of saying where a run goes: nothing outside is touched, and it runs at each replay.
_CONTROL_CLASSES = frozenset({
    "FinishTaskTool", "NodeTool", "SetModelResponseTool", "TransferToAgentTool",
    "_SingleTurnAgentTool", "_TaskAgentTool",
})  # fmt: skip
_CONTROL_FUNCTIONS = frozenset({"exit_loop", "get_user_choice", "transfer_to_agent"})


class Seam(Enum):
    """Where a tool's effect is."""

    NONE = "none"
    BODY = "body"  # checks and confirmations around it are ADK's
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Asked:
    """A call on its way to the tool's body, or ``inside`` it."""

    tool: BaseTool
    args: dict[str, Any]
    context: Any
    inside: bool = False


asked: ContextVar[Asked | None] = ContextVar("perdure_adk_asked", default=None)
calls: ContextVar[Counter[str] | None] = ContextVar("perdure_adk_calls", default=None)


def seam(tool: BaseTool) -> Seam:
    """Where ``tool`` touches the outside."""
    cls = type(tool)
    if any(base.__name__ in _CONTROL_CLASSES for base in cls.__mro__):
        return Seam.NONE
    if isinstance(tool, FunctionTool):
        if _is_no_effect(tool.func):
            return Seam.NONE
        # Generators are run by ADK as nodes, not called.
        generator = bool(getattr(getattr(tool, "_spec", None), "is_generator", False))
        return Seam.WHOLE if generator or _own_run(cls) else Seam.BODY
    return Seam.BODY if hasattr(cls, "_run_async_impl") else Seam.WHOLE


def _is_no_effect(function: Any) -> bool:
    """A ``@perdure.tool`` or ``@perdure.step`` already, or one of ADK's own that only steer."""
    name, module = getattr(function, "__name__", ""), getattr(function, "__module__", "") or ""
    steers = name in _CONTROL_FUNCTIONS and module.startswith("google.adk.")
    return steers or hasattr(function, "__perdure__")


def _own_run(cls: type) -> bool:
    """Whether a class of the user's replaced how the tool is run."""
    owner = next(base for base in cls.__mro__ if "run_async" in base.__dict__)
    return not owner.__module__.startswith("google.adk.")


def branch_name(tool: BaseTool, args: dict[str, Any], context: Any) -> str:
    """A name that is the same in every attempt (K3): the provider's id of the call. Gemini gives
    none and ADK makes up one that is random; then the agent, the tool, what is asked, and for the
    how manyth time."""
    call_id = getattr(context, "function_call_id", None)
    if isinstance(call_id, str) and call_id and not call_id.startswith("adk-"):
        return call_id
    where = getattr(getattr(context, "_invocation_context", None), "branch", None) or ""
    agent = getattr(context, "agent_name", "")
    content = blake2b(canonical(plain(args)), digest_size=6).hexdigest()
    name = f"{where}:{agent}:{tool.name}:{content}"
    counts = calls.get()
    if counts is not None:
        counts[name] += 1
        if counts[name] > 1:
            name = f"{name}#{counts[name]}"
    return name


async def perform_tool(
    place: Place, original: Callable[[], Any], *, in_thread: Callable[[], Any] | None = None
) -> Any:
    """The body of the tool that was asked for as an effect; its result."""
    call = asked.get()
    assert call is not None
    tool, context = call.tool, call.context
    actions: EventActions | None = getattr(context, "actions", None)
    content = plain(call.args)

    async def body() -> Outcome:
        before = _written(actions)
        token = asked.set(replace(call, inside=True))
        try:
            result = await (original() if in_thread is None else body_of(in_thread, (), {}))
            if inspect.isawaitable(result):
                result = await result
        finally:
            asked.reset(token)
        after = _written(actions)
        return Outcome(result, None if after == before else after)

    outcome: Outcome = await perform(
        place,
        Call(
            _declared(place, tool, content),
            body,
            (),
            {},
            ToolValues(tool.name, _returns(tool)),
            digest(canonical(content)),
            arguments=lambda: content,
            call_id=getattr(context, "function_call_id", None),
        ),
    )
    if outcome.actions is not None and actions is not None:
        _say_again(context, actions, EventActions.model_validate(outcome.actions))
    return outcome.value


def _written(actions: EventActions | None) -> Any:
    return None if actions is None else actions.model_dump(mode="json", by_alias=True)


def _say_again(context: Any, actions: EventActions, recorded: EventActions) -> None:
    for name in EventActions.model_fields:
        if name == "state_delta":
            # The state reads what it is told, and tells the delta.
            for key, value in recorded.state_delta.items():
                context.state[key] = value
        else:
            setattr(actions, name, getattr(recorded, name))


def _declared(place: Place, tool: BaseTool, content: Any) -> Declared:
    said = promised(place, tool.name)
    if said is None:
        server = getattr(tool, "raw_mcp_tool", None)
        return Declared(Kind.TOOL, tool.name, hinted(getattr(server, "annotations", None)))
    return asked_about(said, kwargs=content, outcome=Outcome)


def _returns(tool: BaseTool) -> Any:
    if isinstance(tool, AgentTool) or not isinstance(tool, FunctionTool):
        return None
    return returned_by(tool.func)
