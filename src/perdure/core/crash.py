"""Named crash points: places where a process may be killed, so that tests can do it there.

Production code calls :func:`reach`, which costs one comparison. ``perdure.testing.crash`` arms
points in a child process. The names are promised; docs/reference lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Point(StrEnum):
    AFTER_CLAIM = "after_claim"  # a run is leased, nothing of it is executed yet
    BEFORE_INTENT = "before_intent"  # the intent of an effect is about to be written
    AFTER_INTENT = "after_intent"  # it is durable, the effect's body has not begun
    INSIDE_ONCE = "inside_once"  # the body of a once effect is about to begin
    BEFORE_COMMIT = "before_commit"  # a journal batch is about to be written
    AFTER_COMMIT = "after_commit"  # it is durable, the agent does not know yet
    MID_STREAM = "mid_stream"  # pieces of a model's answer are out, the end is not there
    SIBLING_IN_FLIGHT = "sibling_in_flight"  # one parallel effect recorded, another under way
    BEFORE_SETTLE = "before_settle"  # an attempt's end is about to be written
    AFTER_SETTLE = "after_settle"  # it is durable, who waits in this process is not told yet
    DURING_DRAIN = "during_drain"  # the worker claims nothing more, attempts are not asked to end
    WHILE_PARKING = "while_parking"  # effects in flight are over, the agent's code is not unwound


hook: Callable[[Point], None] | None = None


def reach(point: Point) -> None:
    """Pass a crash point."""
    if hook is not None:
        hook(point)
