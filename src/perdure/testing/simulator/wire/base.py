"""What a wire format is: reads a request into the neutral view, renders a neutral answer.

Formats hold no state. The events they stream are those that the providers' own SDKs need
(checked against anthropic 2.12, openai 3.54 and google-genai 2.34 in the tests).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from perdure.errors import UsageError
from perdure.testing.simulator.answer import Answer
from perdure.testing.simulator.call import Message, Tool, unpaired
from perdure.testing.simulator.faults import Fault
from perdure.testing.simulator.quota.turnstile import Level, Limited

__all__ = ["Event", "Question", "Wire", "WireError", "event", "expect_model", "expect_pairs"]


class WireError(UsageError):
    """A refusal in the provider's name; ``message`` None takes the provider's usual words."""

    code, status = "simulated_refusal", 400

    def __init__(
        self,
        http_status: int,
        message: str | None = None,
        *,
        type: str | None = None,
        param: str | None = None,
        error_code: str | None = None,
    ) -> None:
        super().__init__(message or f"HTTP {http_status}")
        self.http_status = http_status
        self.words = message
        self.type = type
        self.param = param
        self.error_code = error_code


@dataclass(frozen=True, slots=True)
class Question:
    """The neutral part of a request."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    system: str


class Wire(Protocol):
    """One provider API."""

    @property
    def format(self) -> str:
        """anthropic, chat, responses or google."""

    @property
    def path(self) -> str:
        """Where it is served."""

    @property
    def overloaded(self) -> int:
        """The status with which this provider says that it is overloaded."""

    def told(self, path: str) -> Mapping[str, Any]:
        """What a request's path says that other providers have in the body."""

    def read(self, body: Mapping[str, Any], past: tuple[Message, ...]) -> Question:
        """The neutral view of a request that follows ``past``. Raises WireError."""

    def whole(self, answer: Answer) -> dict[str, Any]:
        """The response body."""

    def stream(self, answer: Answer) -> Iterator[bytes]:
        """The response as server-sent events, one a piece."""

    def error(self, error: WireError, request_id: str) -> dict[str, Any]:
        """The error body."""

    def error_event(self, fault: Fault, sequence: int) -> bytes:
        """The event that tells of an error within a stream, after ``sequence`` events."""

    def ids(self, digest: str, occurrence: int) -> dict[str, str]:
        """The response header that carries the request's id, if one does."""

    def exhausted(self, retry_after: float, now: float) -> dict[str, str]:
        """Rate-limit headers of a 429 whose limit resets ``retry_after`` seconds after ``now``."""

    def levels(self, levels: Mapping[str, Level], now: float) -> dict[str, str]:
        """The headers that tell where limits stand, by what is counted."""

    def limited(self, limited: Limited, model: str) -> WireError:
        """The refusal of a call that a limit has no room for."""

    def remember(self, answer: Answer) -> tuple[str, tuple[Message, ...]] | None:
        """What a later request may refer to: the response's id and the conversation with it."""


class Event(bytes):
    """A server-sent event; ``said``: how many bytes of the answer's own words it carries."""

    said = 0


def event(name: str | None, data: Mapping[str, Any], *, said: str = "") -> Event:
    """One server-sent event, which carries ``said`` of the answer."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    made = Event(b"%sdata: %s\n\n" % (head, orjson.dumps(data)))
    if said:
        made.said = len(said) if said.isascii() else len(said.encode())
    return made


def expect_model(body: Mapping[str, Any]) -> None:
    """Raises WireError without a model."""
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise WireError(400, "model: Field required", param="model")


def expect_pairs(
    messages: tuple[Message, ...], words: Mapping[str, str], *, adjacent: bool
) -> None:
    """Raises WireError with the provider's ``words`` when a tool call lacks its result ("call")
    or a result its call ("result")."""
    found = unpaired(messages, adjacent=adjacent)
    if found is not None:
        kind, ident = found
        raise WireError(400, words[kind].format(id=ident))
