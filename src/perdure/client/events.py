"""A run's events, typed. ``data`` always holds everything; of a type that this version does not
know there is the plain :class:`Event`."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from perdure.core.run import FINAL


@dataclass(frozen=True, slots=True)
class Event:
    """``seq`` counts a run's events from 1 without gaps."""

    seq: int
    at: datetime
    type: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Status(Event):
    """The run's state changed. ``state`` is a run's state or ``cancelling``."""

    state: str
    reason: str | None
    waits: list[dict[str, Any]]
    error: dict[str, Any] | None

    @property
    def final(self) -> bool:
        return self.state in FINAL


@dataclass(frozen=True, slots=True)
class AttemptStarted(Event):
    """Text of earlier attempts after the last effect that was done is void: it comes again."""

    attempt: int
    worker: str
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class EffectStarted(Event):
    """A model or tool call went out."""

    kind: str
    name: str
    key: str | None


@dataclass(frozen=True, slots=True)
class Effect(Event):
    """A journal entry; ``state`` is intent, done, failed, abandoned or void."""

    kind: str
    name: str
    key: str | None
    state: str
    value: Any
    took_ms: int | None


@dataclass(frozen=True, slots=True)
class Delta(Event):
    """Pieces of an answer: of the agent's own where ``kind`` is output, else of the effect
    ``key``."""

    kind: str
    key: str | None
    items: list[Any]

    @property
    def text(self) -> str:
        """The words among the pieces."""
        words = (item.get("text") if isinstance(item, dict) else item for item in self.items)
        return "".join(word for word in words if isinstance(word, str))


@dataclass(frozen=True, slots=True)
class Emitted(Event):
    """An event of the agent's own."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class Warned(Event):
    """Something that someone should know of."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class SignalReceived(Event):
    """A signal came in; ``n`` counts the run's signals."""

    name: str
    n: int


def event(document: dict[str, Any]) -> Event:
    """The typed event of a document."""
    data: dict[str, Any] = document["data"]
    kind: str = document["type"]
    base = (document["seq"], datetime.fromisoformat(document["at"]), kind, data)
    text, key = data.get("name", ""), data.get("key")
    if kind == "delta":
        return Delta(*base, data.get("kind", "model"), key, data.get("items", []))
    if kind == "effect":
        return Effect(
            *base, data.get("kind", ""), text, key, data.get("state", ""), _value(data),
            data.get("took_ms"),
        )  # fmt: skip
    if kind == "effect.started":
        return EffectStarted(*base, data.get("kind", ""), text, key)
    if kind == "emit":
        return Emitted(*base, text, _value(data))
    if kind == "status":
        reason, waits = data.get("reason"), data.get("waits", [])
        return Status(*base, data["state"], reason, waits, data.get("error"))
    if kind == "attempt.started":
        return AttemptStarted(
            *base, data.get("attempt", 1), data.get("worker", ""), data.get("trace_id")
        )
    if kind == "warning":
        return Warned(*base, data.get("code", ""), data.get("message", ""))
    if kind == "signal":
        return SignalReceived(*base, text, data.get("n", 0))
    return Event(*base)


def _value(data: dict[str, Any]) -> Any:
    if "value_base64" in data:
        return b64decode(data["value_base64"])
    return data.get("value")
