"""Which cases there are."""

from __future__ import annotations

from perdure.core.crash import Point
from tests.faults.harness import Case

STORES = ("sqlite", "postgres")
AGENTS = (
    "plain_async", "plain_sync", "graph_async", "graph_sync", "maf_agent", "maf_flow",
    "oai_agent", "oai_sync", "oai_chat",
    "pai_agent", "pai_sync", "pai_events", "adk_agent",
)  # fmt: skip

WHOLE = frozenset({"oai_sync"})  # these never ask for a stream: there is no middle of one

# At which visits of a point a process is killed: early, in the middle, late.
VISITS: dict[Point, tuple[int, ...]] = {
    Point.AFTER_CLAIM: (1, 2),
    Point.BEFORE_INTENT: (1, 2),
    Point.AFTER_INTENT: (1, 2),
    Point.INSIDE_ONCE: (1, 2),  # before the body, and after it happened
    Point.BEFORE_COMMIT: (1, 4, 8),
    Point.AFTER_COMMIT: (1, 4, 8),
    Point.MID_STREAM: (1, 4),
    Point.SIBLING_IN_FLIGHT: (1, 3),
    Point.BEFORE_SETTLE: (1,),
    Point.AFTER_SETTLE: (1,),
    Point.DURING_DRAIN: (1,),
    Point.WHILE_PARKING: (1,),
}


def every() -> list[Case]:
    """The whole matrix."""
    return [
        Case(point, store, agent, n)
        for point, visits in VISITS.items()
        for store in STORES
        for agent in AGENTS
        for n in visits
        if not (point is Point.MID_STREAM and agent in WHOLE)
    ]


def selection() -> list[Case]:
    """Every point and every agent once, over both stores, in about a minute."""
    points = list(VISITS)
    return [
        Case(point, STORES[i % 2], agent, VISITS[point][-1])
        for i in range(max(len(points), len(AGENTS)))
        for point, agent in [(points[i % len(points)], AGENTS[i % len(AGENTS)])]
    ]
