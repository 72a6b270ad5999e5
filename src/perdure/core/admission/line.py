"""Who is next: by priority, then fair between tenants, then by ticket.

Invariant: the order is a function of the document and the heads in it alone, so that all workers
agree on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import exp
from typing import NamedTuple

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

    def row(self) -> list[object]:
        """As JSON values; ``head`` reads it back."""
        return [
            self.id,
            self.priority,
            self.tenant,
            self.since,
            self.at,
            self.elsewhere,
            *self.need,
        ]


def head(row: list[object]) -> Head:
    """Raises TypeError or ValueError for what is none."""
    name, priority, tenant, since, at, elsewhere, *need = row
    numbers = (priority, since, at, elsewhere, *need)
    if not isinstance(name, str) or not isinstance(tenant, str):
        raise TypeError(f"a head's names are strings: {row!r}")
    if not all(isinstance(number, (int, float)) for number in numbers):
        raise TypeError(f"a head's numbers are numbers: {row!r}")
    return Head(name, priority, tenant, since, at, elsewhere, tuple(need))  # type: ignore[arg-type]


class Place(NamedTuple):
    """A waiting call's place in line. ``who``: its worker and id; ``share``: what it takes of its
    tightest limit, 0 to 1; ``index``: of the caller's own demands, -1 for another worker's."""

    priority: int
    tenant: str
    since: float
    who: tuple[str, str]
    share: float
    index: int


def order(places: Iterable[Place], given: Mapping[str, float], *, turn: bool) -> list[Place]:
    """The line, first first. ``given``: what each tenant was given lately; ``turn``: the oldest goes
    first now, whatever its priority and tenant."""
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
    for priority in sorted(queues, reverse=True):
        tenants = queues[priority]
        while tenants:
            least = min(tenants, key=lambda name: (due.get(name, 0.0), tenants[name][-1].since))
            place = tenants[least].pop()
            due[least] = due.get(least, 0.0) + place.share
            fair.append(place)
            if not tenants[least]:
                del tenants[least]
    return fair


def faded(given: float, since: float) -> float:
    """What is left of ``given`` after ``since`` seconds."""
    return given * exp(-max(0.0, since) / FAIR_S)
