"""What answers: a brain is any callable, sync or async, from a ``Call`` to a ``Reply``.

It may return a ``Fault`` instead, and so play a provider with limits of its own. The brains here
are pure functions of the request: an agent that repeats a call gets the same answer again, which
is what lets a test compare a run that was killed with one that was not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from perdure.core.words import counted
from perdure.errors import UsageError
from perdure.testing.simulator.call import Call
from perdure.testing.simulator.faults import Fault

__all__ = ["Brain", "BrainError", "Finish", "Reply", "ToolUse", "Usage", "echo", "script"]

Finish = Literal["stop", "length", "tool", "filter"]


class BrainError(UsageError):
    """A brain cannot answer this call, or returned something that is no reply."""

    code, status = "brain", 500


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The model asks for a tool."""

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens to report. ``input`` and ``output`` are totals: they hold the cached and the
    reasoning tokens too, whatever the API's own field means."""

    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """A neutral answer.

    ``tools`` takes ``ToolUse`` or ``(name, args)`` pairs. Without ``usage`` tokens are counted
    (see ``tokens``); without ``finish`` it is "tool" when tools are asked for, else "stop".
    ``delay``: seconds before the first token. ``pace``: seconds between streamed chunks.
    ``chunk``: characters in a streamed chunk. ``headers`` are added to the response. ``rate``:
    output tokens produced in a second, whole or streamed; 0: all at once.
    """

    text: str = ""
    tools: Sequence[ToolUse | tuple[str, Mapping[str, Any]]] = ()
    usage: Usage | None = None
    finish: Finish | None = None
    delay: float = 0.0
    pace: float = 0.0
    chunk: int = 20
    headers: Mapping[str, str] = field(default_factory=dict)
    rate: float = 0.0

    def uses(self) -> list[ToolUse]:
        """``tools`` with the pairs made into ``ToolUse``."""
        return [use if isinstance(use, ToolUse) else ToolUse(*use) for use in self.tools]


Answerable = Reply | Fault
Brain = Callable[[Call], Answerable | Awaitable[Answerable]]


def echo(call: Call) -> Reply:
    """Says the user's last words again, or the latest tool results, one a line."""
    return Reply("\n".join(result.content for result in call.results) or call.prompt)


def script(replies: Sequence[Reply | str]) -> Brain:
    """Answers by turn: the reply number k for a conversation with k assistant messages so far.

    So two conversations do not disturb each other and a repeated request gets the same reply.
    A conversation longer than the script is a ``BrainError`` (a 500 that SDKs do not retry).
    """
    lines = [Reply(line) if isinstance(line, str) else line for line in replies]
    if not lines:
        raise BrainError("A script needs at least one reply.")

    def scripted(call: Call) -> Reply:
        if call.turn >= len(lines):
            raise BrainError(
                f"The script has {counted(len(lines), 'reply', 'replies')} and this conversation "
                f"is at turn {call.turn} (counted from 0).",
                hint="Add replies, or look why the agent goes on.",
            )
        return lines[call.turn]

    return scripted
