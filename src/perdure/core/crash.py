"""Named crash points: places where a process may be killed, so that tests can do it there.

Production code calls :func:`reach`, which costs one comparison. ``perdure.testing.crash`` arms
points in a child process. The names are promised; docs/reference lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Point(StrEnum):
    AFTER_CLAIM = "after_claim"
    BEFORE_INTENT = "before_intent"
    AFTER_INTENT = "after_intent"
    INSIDE_ONCE = "inside_once"
    BEFORE_COMMIT = "before_commit"  # a journal batch is about to be written
    AFTER_COMMIT = "after_commit"  # it is durable, the agent does not know yet
    MID_STREAM = "mid_stream"
    SIBLING_IN_FLIGHT = "sibling_in_flight"  # one parallel effect recorded, another under way
    BEFORE_SETTLE = "before_settle"
    AFTER_SETTLE = "after_settle"
    DURING_DRAIN = "during_drain"
    WHILE_PARKING = "while_parking"


hook: Callable[[Point], None] | None = None


def reach(point: Point) -> None:
    """Pass a crash point."""
    if hook is not None:
        hook(point)
