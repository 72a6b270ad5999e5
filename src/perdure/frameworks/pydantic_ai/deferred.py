"""Deferred tool calls as durable waits.

A call that needs approval, or whose result comes from outside, is asked of the run's watchers
while the agent's run goes on waiting: an event ``interrupt`` each, and a signal ``resume:<id>``
(or ``resume``) with the answer. An agent that is called by a tool, and says by its ``output_type``
that its caller decides, is left to that caller.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_ai.exceptions import ModelRetry
from pydantic_ai.tools import (
    DeferredToolRequests,
    DeferredToolResults,
    ToolApproved,
    ToolDenied,
)

from perdure.core.ports import current_boundary
from perdure.frameworks.plain import plain
from perdure.frameworks.pydantic_ai.values import ToolFailed
from perdure.frameworks.questions import Question, ask
from perdure.runtime.place import Place

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt

# The attempt whose agent was handed over as an object; functions answer for themselves.
asking: ContextVar[Attempt | None] = ContextVar("perdure_pydantic_ai_asking", default=None)


async def answers(
    ctx: Any, requests: DeferredToolRequests, results: DeferredToolResults | None
) -> DeferredToolResults | None:
    """``results`` of the agent's own handlers, and those of the questions they leave open."""
    attempt = asking.get()
    if attempt is None or _is_left_to_caller(ctx):
        return results
    done = results or DeferredToolResults()
    approvals = {c.tool_call_id: c for c in requests.approvals}
    calls = {c.tool_call_id: c for c in requests.calls}
    questions = [
        _question(requests, call, "approval" if key in approvals else "tool")
        for key, call in {**approvals, **calls}.items()
        if key not in done.approvals and key not in done.calls
    ]
    if not questions:
        return results
    while questions:
        said = await ask(attempt, questions)
        again = []
        for question in questions:
            answer = said[question.id]
            if question.id in calls:
                done.calls[question.id] = call_result(answer)
            elif (verdict := approval(answer)) is not None:
                done.approvals[question.id] = verdict
            else:
                attempt.pen.warn(
                    "no_answer",
                    f"What was said to the approval of {approvals[question.id].tool_name!r} is "
                    f"neither yes nor no: {str(answer)[:200]!r}. It is asked again.",
                )
                again.append(question)
        questions = again
    return done


def _is_left_to_caller(ctx: Any) -> bool:
    place = cast("Place", current_boundary.get())
    if place.effect is None:
        return False
    output = getattr(ctx.agent, "output_type", None)
    return DeferredToolRequests in (output if isinstance(output, list | tuple) else [output])


def _question(requests: DeferredToolRequests, call: Any, kind: str) -> Question:
    about = {
        "kind": kind,
        "tool": call.tool_name,
        "arguments": plain(call.args_as_dict()),
    }
    metadata = requests.metadata.get(call.tool_call_id)
    if metadata:
        about["metadata"] = plain(metadata)
    return Question(call.tool_call_id, about)


_APPROVED, _DENIED = TypeAdapter(ToolApproved), TypeAdapter(ToolDenied)


def approval(answer: Any) -> bool | ToolApproved | ToolDenied | None:
    """What was said to an approval: true or false; ``{"approved": ..}`` with ``message`` or
    ``override_args``; Pydantic AI's own ``{"kind": "tool-approved" | "tool-denied"}``. None: it is
    none of these."""
    if isinstance(answer, bool):
        return answer
    if not isinstance(answer, dict):
        return None
    kind = answer.get("kind")
    if isinstance(answer.get("approved"), bool):
        kind = "tool-approved" if answer["approved"] else "tool-denied"
    fields = {k: v for k, v in answer.items() if k in ("override_args", "message")}
    try:
        if kind == "tool-approved":
            fields.pop("message", None)
            return _APPROVED.validate_python(fields)
        if kind == "tool-denied":
            fields.pop("override_args", None)
            return _DENIED.validate_python(fields)
    except ValidationError:
        return None
    return None


def call_result(answer: Any) -> Any:
    """The result of a call made outside: the answer itself, or Pydantic AI's
    ``{"kind": "model-retry" | "tool-failed", "message": ..}``."""
    if isinstance(answer, dict) and isinstance(message := answer.get("message"), str):
        if answer.get("kind") == "model-retry":
            return ModelRetry(message)
        if answer.get("kind") == "tool-failed":
            return ToolFailed(message)
    return answer
