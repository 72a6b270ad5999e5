"""What an agent asks its user: tools that need approval, and tools that the caller carries out.

Each is a question named by the tool call's id (``perdure.frameworks.questions``). The answer to an
approval is true, false, or ``{"approved": bool}``; the answer to a call of a declaration-only tool
is its result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent_framework import AgentResponse, BaseAgent, Content, FunctionTool, Message

from perdure.codec import canonical
from perdure.errors import UsageError
from perdure.frameworks.plain import plain
from perdure.frameworks.questions import Question


def requests_of(response: AgentResponse[Any], agent: BaseAgent) -> list[Content]:
    """What the response asks. The calls that are left to the caller are not marked in a streamed
    response of older versions: they are those that nothing answered, of a turn that calls a tool
    without an implementation."""
    if response.user_input_requests:
        return response.user_input_requests
    left: dict[str | None, Content] = {}
    for content in (content for message in response.messages for content in message.contents):
        if content.type == "function_call" and not getattr(content, "informational_only", False):
            left[content.call_id] = content
        elif content.type == "function_result":
            left.pop(content.call_id, None)
    tools = (getattr(agent, "default_options", None) or {}).get("tools") or ()
    bare = {t.name for t in tools if isinstance(t, FunctionTool) and t.declaration_only}
    return list(left.values()) if any(call.name in bare for call in left.values()) else []


def question(request: Content, *, agent: str) -> Question:
    """Raises UsageError for a request that a signal cannot answer."""
    if request.type == "function_approval_request" and request.function_call is not None:
        return _about(request.function_call, "approval")
    if request.type == "function_call":
        return _about(request, "tool")
    raise UsageError(
        f"Agent {agent!r} asks its user for {request.type!r}, which a signal cannot answer.",
        hint="Approvals of tools, and tools that the caller carries out, can be answered.",
    )


def _about(call: Content, kind: str) -> Question:
    return Question(
        call.call_id or call.id or "request",
        {"kind": kind, "tool": call.name, "arguments": plain(call.parse_arguments())},
    )


def answer(request: Content, payload: Any) -> Content:
    """What the agent is told. An answer that is no clear yes is a no."""
    if request.type == "function_approval_request":
        approved = payload.get("approved") if isinstance(payload, dict) else payload
        return request.to_function_approval_response(approved is True)
    result = payload if isinstance(payload, str) else canonical(payload).decode()
    return Content.from_function_result(call_id=request.call_id or "", result=result)


def replies(answers: Sequence[Content]) -> list[Message]:
    """The answers as messages, in their order."""
    messages: list[Message] = []
    for content in answers:
        role = "tool" if content.type == "function_result" else "user"
        if messages and messages[-1].role == role:
            messages[-1].contents.append(content)
        else:
            messages.append(Message(role, [content]))
    return messages
