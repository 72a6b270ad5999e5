"""Inputs and outputs in ADK's own shapes.

In: a string is the user's message; an object with ``parts`` is a ``Content``; an object with
``new_message`` is what ADK's own server takes at ``/run`` (``new_message``, ``state_delta``,
``user_id``), and may have a ``session`` to go on with, or null for a new one. Out: ``output``
(the text of the final response, or what an agent with an output schema or a workflow gave), and
``events`` and ``state`` as ADK's server shows them; with a session the session, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from google.adk.events.event import Event
from google.adk.sessions.session import Session
from google.genai import types

from perdure.errors import InvalidInput
from perdure.frameworks.plain import plain

_HINT = "A string, a Content ({'parts': [...]}), or {'new_message': ..., 'state_delta': {...}}."
_KEYS = {"new_message", "state_delta", "user_id", "session"}


@dataclass(frozen=True, slots=True)
class Input:
    """What a run starts with."""

    message: types.Content
    state: dict[str, Any] = field(default_factory=dict)
    user: str | None = None
    session: Session | None = None
    wants_session: bool = False


def read_input(value: Any, *, agent: str) -> Input:
    """Raises InvalidInput."""
    if not isinstance(value, dict) or "new_message" not in value:
        return Input(_content(value, agent))
    unknown = sorted(set(value) - _KEYS)
    if unknown:
        raise InvalidInput(f"Agent {agent!r} has no input {unknown[0]!r}.", hint=_HINT)
    state = value.get("state_delta") or {}
    user = value.get("user_id")
    if not isinstance(state, dict) or not isinstance(user, str | None):
        raise InvalidInput(f"Agent {agent!r} takes an object as state_delta.", hint=_HINT)
    session = None
    if value.get("session") is not None:
        try:
            session = Session.model_validate(value["session"])
        except Exception as error:
            raise InvalidInput(
                f"The session for agent {agent!r} is none: {error}",
                hint="Give what an earlier run gave as its session, or null.",
            ) from error
    message = _content(value["new_message"], agent)
    return Input(message, state, user, session, "session" in value)


def _content(value: Any, agent: str) -> types.Content:
    if isinstance(value, str):
        return types.Content(role="user", parts=[types.Part(text=value)])
    if not isinstance(value, dict) or "parts" not in value:
        kind = "null" if value is None else type(value).__name__
        raise InvalidInput(f"Agent {agent!r} takes a message, not {kind}.", hint=_HINT)
    try:
        return types.Content.model_validate({"role": "user", **value})
    except Exception as error:
        raise InvalidInput(f"The message for agent {agent!r}: {error}", hint=_HINT) from error


def write_output(events: Sequence[Event], session: Session, given: Input) -> dict[str, Any]:
    """A run's result as JSON."""
    written = {
        "output": _output(events),
        "events": [write_event(event) for event in events],
        "state": plain(session.state),
    }
    if given.wants_session:
        written["session"] = session.model_dump(mode="json", by_alias=True, exclude_none=True)
    return written


def write_event(event: Event) -> dict[str, Any]:
    """An event as ADK's server shows it."""
    shown: dict[str, Any] = plain(event.model_dump(mode="json", by_alias=True, exclude_none=True))
    return shown


def _output(events: Sequence[Event]) -> Any:
    for event in reversed(events):
        output = getattr(event, "output", None)
        if output is not None:
            return plain(output)
        if event.is_final_response() and event.content and event.content.parts:
            text = "".join(p.text or "" for p in event.content.parts if not p.thought)
            if text:
                return text
    return None


def input_schema() -> dict[str, Any]:
    """JSON Schema of an agent's input."""
    content = {
        "type": "object",
        "properties": {
            "role": {"type": "string"},
            "parts": {"type": "array", "items": {"type": "object"}},
        },
        "required": ["parts"],
    }
    given = {
        "type": "object",
        "properties": {
            "new_message": {"anyOf": [{"type": "string"}, content]},
            "state_delta": {"type": ["object", "null"]},
            "user_id": {"type": ["string", "null"]},
            "session": {"type": ["object", "null"]},
        },
        "required": ["new_message"],
        "additionalProperties": False,
    }
    return {"anyOf": [{"type": "string"}, content, given]}
