"""Tools that need approval (``needs_approval``) as durable waits.

Each interruption becomes an event ``interrupt`` with the call's id and waits for a signal
``resume:<id>`` or ``resume``. The run parks meanwhile. The payload is ``true`` or ``false``, or an
object ``{"approved": bool, "always": bool, "message": str}``: ``always`` holds for the tool's later
calls, ``message`` is what the model is told of a refusal.

The SDK's ``RunState`` is never written down: a later attempt comes to the same interruptions by
replaying the journal.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import orjson

from perdure.core.branch import child
from perdure.core.ports import current_boundary
from perdure.errors import BoundaryError
from perdure.frameworks.openai_agents.events import BESIDE
from perdure.frameworks.questions import Question, answer, tell
from perdure.runtime.crossing import refuse_loop_thread
from perdure.runtime.place import Place

if TYPE_CHECKING:
    from agents import RunState, ToolApprovalItem


async def wait_for_approvals(result: Any) -> RunState[Any]:
    """The state of an interrupted ``result`` with every question decided, to go on with:
    ``await Runner.run(agent, state)``. Parks the run until people have answered. Raises
    BoundaryError outside a run."""
    place = _place()
    attempt = place.attempt
    if asyncio.get_running_loop() is attempt.loop:
        decisions = await _decisions(place, result.interruptions, foreign=False)
    else:
        decisions = await attempt.crossing.ask_async(
            _decisions(place, result.interruptions, foreign=True)
        )
    return _decided(result, decisions)


def wait_for_approvals_blocking(result: Any) -> RunState[Any]:
    """The same after ``Runner.run_sync`` in synchronous code."""
    place = _place()
    refuse_loop_thread("wait_for_approvals_blocking")
    decisions = place.attempt.crossing.ask(_decisions(place, result.interruptions, foreign=True))
    return _decided(result, decisions)


def _place() -> Place:
    place = cast("Place | None", current_boundary.get())
    if place is None:
        raise BoundaryError(
            "Approvals were waited for outside a run.",
            hint="It works in the code of an agent that Perdure executes.",
        )
    return place.here()


def _decided(result: Any, decisions: list[dict[str, Any]]) -> RunState[Any]:
    state: RunState[Any] = result.to_state()
    for item, decision in zip(result.interruptions, decisions, strict=True):
        always = bool(decision.get("always"))
        if decision["approved"]:
            state.approve(item, always_approve=always)
        elif (message := decision.get("message")) is not None:
            state.reject(item, always_reject=always, rejection_message=str(message))
        else:
            state.reject(item, always_reject=always)
    return state


async def _decisions(
    place: Place, items: list[ToolApprovalItem], *, foreign: bool
) -> list[dict[str, Any]]:
    """All are asked before any is waited for (rule C1)."""
    if len(items) == 1:
        return [await _decision(place, items[0], foreign)]
    waits = [asyncio.ensure_future(_decision(place, item, foreign)) for item in items]
    try:
        return list(await asyncio.gather(*waits))
    finally:
        for wait in waits:
            wait.cancel()


async def _decision(around: Place, item: ToolApprovalItem, foreign: bool) -> dict[str, Any]:
    attempt = around.attempt
    raw: Any = item.raw_item
    name = str(_field(raw, "call_id") or _field(raw, "id"))
    about = {
        "kind": "approval",
        "agent": item.agent.name,
        "tool": item.tool_name,
        "arguments": _arguments(raw),
    }
    tell(attempt.named_place(BESIDE, around), Question(name, about))
    # A branch of its own: nothing that the agent does later comes after it, so that an attempt
    # which finds the tool's result already recorded need not ask again.
    place = attempt.named_place(child(around.path, f"approval.{name}"), around)
    while True:
        said, new = await answer(place, name, foreign=foreign)
        if isinstance(said, bool):
            return {"approved": said}
        if isinstance(said, dict) and isinstance(said.get("approved"), bool):
            return said
        if new:
            attempt.pen.warn(
                "no_answer",
                f"The answer to {item.tool_name!r} ({name}) is neither true nor false nor an "
                'object with "approved"; the run asks on.',
            )


def _field(raw: Any, name: str) -> Any:
    return raw.get(name) if isinstance(raw, dict) else getattr(raw, name, None)


def _arguments(raw: Any) -> Any:
    arguments = _field(raw, "arguments")
    if not isinstance(arguments, str):
        return None if arguments is None else str(arguments)
    try:
        return orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return arguments
