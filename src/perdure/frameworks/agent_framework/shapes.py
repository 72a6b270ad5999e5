"""Inputs and outputs in Agent Framework's own shapes.

In: a string is a user's message; an object with ``role`` is a message and a list is messages, as
``Message.to_dict`` gives them (``{"role": "user", "text": ...}`` will do); an object with
``messages`` may also carry a ``session``, as ``AgentSession.to_dict`` gives it, or null for a new
one. Out: ``AgentResponse.to_dict``; where a session came in, that and the session.
"""

from __future__ import annotations

from typing import Any

from agent_framework import AgentResponse, AgentSession, Message

from perdure.errors import InvalidInput
from perdure.frameworks.plain import plain

_HINT = "A string, a message, a list of messages, or {'messages': ..., 'session': ...}."


def read_messages(value: Any, *, agent: str) -> list[Message]:
    """The messages of a run's input. Raises InvalidInput."""
    if isinstance(value, dict) and "messages" in value:
        unknown = sorted(set(value) - {"messages", "session"})
        if unknown:
            raise InvalidInput(f"Agent {agent!r} has no input {unknown[0]!r}.", hint=_HINT)
        value = value["messages"]
    items = value if isinstance(value, list) else [value]
    if not items:
        raise InvalidInput(f"Agent {agent!r} was given no message.", hint=_HINT)
    return [_read_message(item, agent) for item in items]


def _read_message(item: Any, agent: str) -> Message:
    if isinstance(item, str):
        return Message("user", [item])
    if not isinstance(item, dict) or not isinstance(item.get("role"), str):
        kind = "null" if item is None else type(item).__name__
        raise InvalidInput(f"Agent {agent!r} takes messages, not {kind}.", hint=_HINT)
    fields = dict(item)
    for short in ("text", "content"):
        if isinstance(fields.get(short), str) and "contents" not in fields:
            fields["contents"] = [{"type": "text", "text": fields.pop(short)}]
    try:
        return Message.from_dict(fields)
    except Exception as error:
        raise InvalidInput(f"A message for agent {agent!r} is none: {error}", hint=_HINT) from error


def read_session(value: Any, *, agent: str) -> AgentSession | None:
    """The session that came in; None where a new one is to be made. Raises InvalidInput."""
    if not has_session(value) or value["session"] is None:
        return None
    try:
        return AgentSession.from_dict(value["session"])
    except Exception as error:
        raise InvalidInput(
            f"The session for agent {agent!r} is none: {error!r}",
            hint="Give what an earlier run gave as its session, or null.",
        ) from error


def has_session(value: Any) -> bool:
    """Whether the input asks for a session, so that the output has it too."""
    return isinstance(value, dict) and "messages" in value and "session" in value


def write_response(response: AgentResponse[Any]) -> dict[str, Any]:
    """A response as JSON, with the value of a structured one."""
    written: dict[str, Any] = plain(response.to_dict())
    if response.value is not None:
        written["value"] = plain(response.value)
    return written


def input_schema() -> dict[str, Any]:
    """JSON Schema of an agent's input."""
    message = {
        "type": "object",
        "properties": {
            "role": {"enum": ["user", "assistant", "system", "tool"]},
            "text": {"type": "string"},
            "contents": {"type": "array", "items": {"type": ["string", "object"]}},
        },
        "required": ["role"],
    }
    one = [{"type": "string"}, message]
    many = {"type": "array", "items": {"anyOf": one}, "minItems": 1}
    given = {
        "type": "object",
        "properties": {
            "messages": {"anyOf": [*one, many]},
            "session": {"type": ["object", "null"]},
        },
        "required": ["messages"],
        "additionalProperties": False,
    }
    return {"anyOf": [*one, many, given]}
