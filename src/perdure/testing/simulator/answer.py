"""A reply resolved for one call (ids, tokens, finish), and the response made from it.

``Answer`` is what the wire formats render. ``Delivery`` is what a transport has to do: bytes in
parts and how they end; it knows nothing of sockets, so the HTTP server and the in-memory
transports carry out the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from perdure.testing.simulator.brain import BrainError, Finish, Reply, Usage
from perdure.testing.simulator.call import Call
from perdure.testing.simulator.ledger import Status
from perdure.testing.simulator.tokens import count_tokens

__all__ = ["Answer", "Asked", "Delivery", "Ending", "pieces", "resolve"]

Ending = Literal["whole", "drop", "break", "hang"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A tool use with its arguments as the JSON text that goes over the wire."""

    name: str
    args: Mapping[str, Any]
    json: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, ready to be rendered. ``created`` is in whole seconds since the epoch."""

    call: Call
    text: str
    asked: tuple[Asked, ...]
    usage: Usage
    finish: Finish
    chunk: int
    created: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the client gets. ``delay``: seconds after the headers (stream) or before them (whole).
    ``produced``: output tokens that there are when each part goes out; ``rate``: how many of them
    come to be in a second (0: at once).

    ``outcome`` is what the ledger says when it was carried out. With the endings ``drop`` and
    ``hang`` and no parts not even headers are sent; a ``hang`` of ``linger`` > 0 seconds ends.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[bytes, ...] = ()
    streamed: bool = False
    delay: float = 0.0
    pace: float = 0.0
    ending: Ending = "whole"
    linger: float = 0.0
    outcome: Status = "answered"
    length: int | None = None
    produced: tuple[int, ...] = ()
    rate: float = 0.0


def resolve(call: Call, reply: Reply, created: int) -> Answer:
    """Counts tokens, serializes arguments, decides the finish. Raises BrainError."""
    if reply.chunk < 1 or min(reply.delay, reply.pace, reply.rate) < 0:
        raise BrainError("A reply's chunk must be at least 1; delay, pace and rate not negative.")
    asked = tuple(
        Asked(use.name, use.args, orjson.dumps(use.args).decode()) for use in reply.uses()
    )
    usage = reply.usage
    if usage is None:
        said = reply.text + "".join(use.name + use.json for use in asked)
        spoken = max(1, count_tokens(said))
        usage = Usage(call.input_tokens, spoken, call.cache_read, call.cache_write)
    finish = reply.finish or ("tool" if asked else "stop")
    return Answer(call, reply.text, asked, usage, finish, reply.chunk, created)


def pieces(text: str, size: int) -> Iterator[str]:
    """``text`` cut into chunks of ``size`` characters."""
    for at in range(0, len(text), size):
        yield text[at : at + size]
