"""Arms crash points, so that a test can have this very process die where it hurts.

A spec is ``point[:n[:SIGNAL]]``, several separated by commas: at the n-th time (default: the first)
that the point is reached, the process sends itself the signal (default: SIGKILL). A process that
Perdure's command line starts arms what ``PERDURE_TESTING_CRASH`` says.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from perdure.core import crash
from perdure.core.crash import Point
from perdure.errors import ConfigError

__all__ = ["Armed", "arm", "disarm", "parse"]

# A signal of a process to itself is delivered at once, to one of its threads. Whoever reached the
# point must not get any further until it has done its work.
DELIVERY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Armed:
    """``n`` counts from 1."""

    point: Point
    n: int = 1
    signal: signal.Signals = signal.SIGKILL


def parse(spec: str) -> list[Armed]:
    """Raises ConfigError for a point, count or signal that is not there."""
    return [_parse_one(part.strip()) for part in spec.split(",") if part.strip()]


def arm(spec: str, *, kill: Callable[[int, int], None] = os.kill) -> list[Armed]:
    """Arm the points of ``spec`` in this process, instead of those armed before; returns them.

    Counting begins anew. Raises ConfigError.
    """
    points = parse(spec)
    reached: Counter[Point] = Counter()

    def hook(point: Point) -> None:
        reached[point] += 1
        for armed in points:
            if armed.point is point and armed.n == reached[point]:
                kill(os.getpid(), armed.signal)
                if armed.signal == signal.SIGKILL and kill is os.kill:
                    time.sleep(DELIVERY_SECONDS)

    crash.hook = hook if points else None
    return points


def disarm() -> None:
    """Points do nothing from now on."""
    crash.hook = None


def _parse_one(text: str) -> Armed:
    name, _, rest = text.partition(":")
    count, _, signal_name = rest.partition(":")
    try:
        point = Point(name)
    except ValueError:
        raise ConfigError(
            f"There is no crash point {name!r} (testing.crash = {text!r}).",
            hint=f"Points: {', '.join(Point)}",
        ) from None
    if count and not (count.isdecimal() and int(count) > 0):
        raise ConfigError(
            f"{count!r} is no count from 1 (testing.crash = {text!r}).",
            hint="Write point[:n[:SIGNAL]], for example after_commit:3:SIGKILL.",
        )
    try:
        number = signal.Signals[signal_name] if signal_name else signal.SIGKILL
    except KeyError:
        raise ConfigError(
            f"There is no signal {signal_name!r} (testing.crash = {text!r}).",
            hint="Write it as SIGKILL, SIGTERM, SIGSTOP, …",
        ) from None
    return Armed(point, int(count) if count else 1, number)
