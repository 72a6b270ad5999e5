"""Who is next: by priority, then fair between tenants, then by ticket.

Invariant: the order is a function of the document and the heads in it alone, so that all workers
agree on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heapreplace
from math import exp
from typing import Any, NamedTuple

HEADS = 16  # waiting calls that stand in a document in all; what keeps it below 4 KB
HEAD_TTL_S = 2.0  # the heads of a worker that was silent for longer do not count
PATIENCE_S = 0.25  # a head that did not collect for so long after its time is passed by
TURN = 20  # of so many calls one is the oldest waiting, whatever its priority: nobody starves
FAIR_S = 60.0  # what a tenant was given is forgotten at this rate (time constant, seconds)
TENANTS = 16  # tenants remembered in a document: those that were given most


class Head(NamedTuple):
    """A waiting call in a document. ``at``: when its worker will ask again; ``elsewhere``: when its
    other pools have room (unix seconds; 0: it has none); ``need``: in the order of the limits."""

    id: str
    priority: int
    tenant: str
    since: float
    at: float
    elsewhere: float
    need: tuple[int, ...]


def row(head: Head) -> list[object]:
    """As JSON values; ``head_of`` reads it back."""
    return [*head[:6], *head.need]


def head_of(row: list[Any]) -> Head:
    """Read back what ``row`` made."""
    return Head(row[0], row[1], row[2], row[3], row[4], row[5], tuple(row[6:]))


def check(row: list[Any]) -> None:
    """Raises TypeError or ValueError for what is no head."""
    if len(row) < 6 or not isinstance(row[0], str) or not isinstance(row[2], str):
        raise ValueError(f"{row!r} is no waiting call")
    sum(row[3:], row[1])  # of what is no number there is no sum


class Place(NamedTuple):
    """A waiting call's place in line. ``who``: its worker and id; ``share``: what it takes of its
    tightest limit, 0 to 1; ``number``: of the caller's own demands, -1 for another worker's."""

    priority: int
    tenant: str
    since: float
    who: tuple[str, str]
    share: float
    number: int


def order(places: Iterable[Place], given: Mapping[str, float], *, turn: bool) -> list[Place]:
    """The line, first first. ``given``: what each tenant was given lately; ``turn``: the oldest
    goes first now, whatever its priority and tenant."""
    line = sorted(places, key=lambda place: (-place.priority, place.since, place.who))
    if len({(place.priority, place.tenant) for place in line}) > 1:
        line = _fair(line, given)
        if turn:
            oldest = min(line, key=lambda place: (place.since, place.who))
            line.remove(oldest)
            line.insert(0, oldest)
    return line


def _fair(line: list[Place], given: Mapping[str, float]) -> list[Place]:
    """Within one priority the tenant that was given least goes first, and is then counted as
    having been given that too."""
    fair: list[Place] = []
    due = dict(given)
    queues: dict[int, dict[str, list[Place]]] = {}
    for place in reversed(line):
        queues.setdefault(place.priority, {}).setdefault(place.tenant, []).append(place)
    for _, tenants in sorted(queues.items(), reverse=True):
        turns = [(due.get(name, 0.0), queue[-1].since, name) for name, queue in tenants.items()]
        heapify(turns)
        while turns:
            given_so_far, _, name = turns[0]
            place = tenants[name].pop()
            fair.append(place)
            due[name] = given_so_far + place.share
            if tenants[name]:
                heapreplace(turns, (due[name], tenants[name][-1].since, name))
            else:
                heappop(turns)
    return fair


def faded(given: float, since: float) -> float:
    """What is left of ``given`` after ``since`` seconds."""
    return given * exp(-max(0.0, since) / FAIR_S)
