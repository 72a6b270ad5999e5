"""The neutral view of one model call: what a brain reads, whatever API the request came by.

Invariant: a ``Call`` is a pure function of the request but for ``n`` and ``occurrence``, so a
brain that ignores those two answers a repeated request with the same words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "Call",
    "Message",
    "Other",
    "Part",
    "Role",
    "Text",
    "Tool",
    "ToolCall",
    "ToolResult",
    "unpaired",
]

Role = Literal["system", "user", "assistant", "tool"]
_CEILINGS = ("max_completion_tokens", "max_output_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class Text:
    """Words."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asked for a tool. ``args`` is the raw string when it is no JSON object."""

    id: str
    name: str
    args: dict[str, Any] | str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back, as text. ``error`` is known only where the API carries it."""

    id: str
    content: str
    error: bool = False


@dataclass(frozen=True, slots=True)
class Other:
    """A part the simulator does not look into (image, document, reasoning, …)."""

    kind: str


Part = Text | ToolCall | ToolResult | Other


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the conversation. Tool results have the role ``tool`` in every format."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """Its words, joined by newlines."""
        return "\n".join(part.text for part in self.parts if isinstance(part, Text))


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool offered to the model; ``schema`` is the JSON schema of its arguments."""

    name: str
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as a brain sees it.

    ``n`` counts all calls since start or reset (from 1); ``occurrence`` counts those with the
    same ``digest`` (from 1). ``body`` is the request as it came (with ``model`` and
    ``stream`` from the path where Google's API has them); ``headers`` have lower-case names.
    ``target`` and ``key``: which of the simulator's targets was called, and with which API key.
    ``cache_read`` and ``cache_write``: tokens of the input, where a prompt cache is simulated.
    """

    n: int
    format: str
    path: str
    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    system: str
    stream: bool
    digest: str
    occurrence: int
    input_tokens: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    target: str = ""
    key: str = ""
    cache_read: int = 0
    cache_write: int = 0

    @property
    def turn(self) -> int:
        """How many assistant messages the conversation holds: 0 for a fresh one."""
        return sum(message.role == "assistant" for message in self.messages)

    @property
    def ceiling(self) -> int | None:
        """The most output tokens the request allows, if it says so."""
        google = self.body.get("generationConfig") or self.body.get("generation_config") or {}
        limits = (*(self.body.get(name) for name in _CEILINGS), google.get("maxOutputTokens"))
        return next((limit for limit in limits if isinstance(limit, int)), None)

    @property
    def prompt(self) -> str:
        """The last words of the user."""
        for message in reversed(self.messages):
            if message.role == "user":
                return message.text
        return ""

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """The tool results that came since the last assistant message."""
        found: list[ToolResult] = []
        for message in reversed(self.messages):
            if message.role == "assistant":
                break
            found[:0] = [part for part in message.parts if isinstance(part, ToolResult)]
        return tuple(found)


def unpaired(
    messages: Sequence[Message], *, adjacent: bool
) -> tuple[Literal["call", "result"], str] | None:
    """The first tool call without result or result without call, and its id; else None.

    With ``adjacent`` the results must be in the message after the calls, as Anthropic's and
    OpenAI's chat APIs demand; a request that breaks this is a 400 there, and so it is here.
    """
    asked: set[str] = set()
    answered = {p.id for m in messages for p in m.parts if isinstance(p, ToolResult)}
    for at, message in enumerate(messages):
        calls = [part.id for part in message.parts if isinstance(part, ToolCall)]
        if calls:
            if adjacent:
                after = messages[at + 1].parts if at + 1 < len(messages) else ()
                answered = {part.id for part in after if isinstance(part, ToolResult)}
            for ident in calls:
                if ident not in answered:
                    return "call", ident
            asked.update(calls)
        for part in message.parts:
            if isinstance(part, ToolResult) and part.id not in asked:
                return "result", part.id
    return None
