"""A delivery as steps: what to wait for, what to send, how to end.

The order of things is decided here once; the HTTP server and the in-memory transports only carry
the steps out, each in its own way of waiting. Whoever does must close the ledger's row with the
delivery's outcome right before a last ``Part`` or a ``Cut``, and close the iterator when it stops
early.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import groupby

from perdure.testing.simulator.answer import Delivery
from perdure.testing.simulator.simulation import Exchange, Simulation

__all__ = ["Cut", "Held", "Part", "Sleep", "Start", "Step", "steps"]


@dataclass(frozen=True, slots=True)
class Held:
    """Wait until a test lets this answer go."""

    future: Future[None]


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait; None: for ever."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Start:
    """Send status and headers."""


@dataclass(frozen=True, slots=True)
class Part:
    """Send bytes; ``last`` when they complete the answer."""

    data: bytes
    last: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """End the connection, with a reset or as if the peer had just stopped."""

    reset: bool


Step = Held | Sleep | Start | Part | Cut


def steps(
    simulation: Simulation, exchange: Exchange, delivery: Delivery
) -> Generator[Step, None, None]:
    """The steps of one delivery, decided as they are asked for."""
    parts, whole = delivery.parts, delivery.ending == "whole"
    planned = len(parts)
    yield from _gate(simulation, exchange, 0, planned)
    produced = delivery.produced or (0,) * planned
    if parts:
        if delivery.delay and not delivery.streamed:
            yield Sleep(delivery.delay)
        if not delivery.streamed:
            yield from _produce(simulation, exchange, delivery, 0, produced[-1])
        yield Start()
        if delivery.delay and delivery.streamed:
            yield Sleep(delivery.delay)
    if whole and planned > 1 and not delivery.pace and not simulation.holding:
        # Nothing can happen between the events: one write says the same, and is faster.
        writes = _joined(parts, produced, waits=bool(delivery.rate))
    else:
        writes = list(zip(range(planned), parts, produced, strict=True))
    before = 0
    for sent, part, tokens in writes:
        if sent:
            if delivery.pace:
                yield Sleep(delivery.pace)
            yield from _gate(simulation, exchange, sent, planned)
        if delivery.streamed:
            yield from _produce(simulation, exchange, delivery, before, tokens)
            before = tokens
        yield Part(part, last=whole and sent == writes[-1][0])
    if delivery.ending == "hang":
        yield Sleep(delivery.linger or None)
    if not whole:
        yield Cut(reset=delivery.ending == "drop")


def _joined(
    parts: Sequence[bytes], produced: Sequence[int], *, waits: bool
) -> list[tuple[int, bytes, int]]:
    """Events in one write, or with ``waits`` in one for each time that tokens come to be: the
    number of its first event, its bytes, and the tokens there are."""
    numbered = enumerate(zip(parts, produced, strict=True))
    joined = []
    for tokens, group in groupby(numbered, lambda one: one[1][1] if waits else produced[-1]):
        events = list(group)
        joined.append((events[0][0], b"".join(part for _, (part, _) in events), tokens))
    return joined


def _produce(
    simulation: Simulation, exchange: Exchange, delivery: Delivery, before: int, total: int
) -> Iterator[Step]:
    """Waits while tokens come to be, and books them: a stream's with the event that carries them,
    a whole answer's at least once a second. Refusals produce nothing."""
    if delivery.outcome == "refused":
        return
    simulation.begin(exchange)
    if delivery.rate and total > before:
        slices = 1 if delivery.streamed else math.ceil((total - before) / delivery.rate)
        for at in range(1, slices + 1):
            yield Sleep((total - before) / delivery.rate / slices)
            simulation.produce(exchange, before + (total - before) * at // slices)
    simulation.produce(exchange, total)


def _gate(simulation: Simulation, exchange: Exchange, sent: int, planned: int) -> Iterator[Step]:
    future = simulation.pause(exchange, sent, planned)
    if future is not None:
        try:
            yield Held(future)
        finally:
            simulation.leave(future)
