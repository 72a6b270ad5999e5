"""A share of real traffic through a fallback: the document that workers go by, and what the ledger
says of both sides meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from perdure.cli.drill.sides import Bars, Check, Side, judge, passed, real
from perdure.core import drill
from perdure.core.drill import Drill
from perdure.core.shared import Swap
from perdure.errors import Conflict
from perdure.store import Store
from perdure.store.costs import CostFilter

MOST = 200_000  # rows of the ledger that are compared, the newest


@dataclass(frozen=True, slots=True)
class Traffic:
    """A drill and what came of it. ``sides``: the primary, the fallback."""

    drill: Drill
    sides: tuple[Side, Side]

    def checks(self, bars: Bars) -> tuple[Check, ...]:
        primary, drilled = self.sides
        return judge(drilled, primary, bars)

    def passed(self, bars: Bars) -> bool:
        return passed(self.checks(bars))

    def to_dict(self, bars: Bars) -> dict[str, Any]:
        return {
            **view(self.drill),
            "sides": [side.to_dict() for side in self.sides],
            "checks": [
                {"target": self.drill.target, **check.to_dict()} for check in self.checks(bars)
            ],
        }


def view(one: Drill) -> dict[str, Any]:
    """A drill for programs."""
    return {
        "id": one.id,
        "route": one.route,
        "target": one.target,
        "percent": one.percent,
        "since": moment(one.since).isoformat(),
        "until": moment(one.until).isoformat(),
        "by": one.by,
    }


def moment(at: float) -> datetime:
    """Unix seconds as a time."""
    return datetime.fromtimestamp(at, UTC)


async def begin(
    store: Store, id: str, route: str, target: str, percent: float, length: timedelta, by: str
) -> Drill:
    """From now on, and for ``length``. Raises Conflict where the route is drilled already."""
    key = drill.key(route)
    swapped = await store.swap([key])
    while True:
        document = swapped.documents[key]
        if (other := drill.under_way(document.body, swapped.now)) is not None:
            raise Conflict(
                f"The route {route!r} is drilled already, by {other.by or 'someone'}.",
                hint=f"perdure drill status; to end it: perdure drill stop {route}",
            )
        until = swapped.now + length.total_seconds()
        made = Drill(id, route, target, percent, swapped.now, until, by)
        swapped = await store.swap((), [Swap(key, document.version, drill.encode(made))])
        if swapped.done or drill.decode(swapped.documents[key].body) == made:
            return made


async def end(store: Store, route: str, id: str | None = None) -> bool:
    """End a route's drill, of this ``id`` or (None) whichever it is. Whether there was one."""
    key = drill.key(route)
    swapped = await store.swap([key])
    while True:
        document = swapped.documents[key]
        found = drill.decode(document.body)
        if not document.body or (id is not None and (found is None or found.id != id)):
            return False
        swapped = await store.swap((), [Swap(key, document.version, b"")])
        if swapped.done:
            return found is not None and swapped.now < found.until


async def known(store: Store) -> Sequence[Drill]:
    """Those that are under way."""
    swapped = await store.listed(drill.PREFIX)
    found = (drill.under_way(each.body, swapped.now) for each in swapped.documents.values())
    return [one for one in found if one is not None]


async def look(store: Store, one: Drill, until: datetime | None = None) -> Traffic:
    """What the ledger says of it."""
    asked = CostFilter(since=moment(one.since), until=until, route=one.route, limit=MOST)
    rows = [row.charge for row in await store.charges(asked)]
    return Traffic(one, real(rows, one.target, drill.WHY))
