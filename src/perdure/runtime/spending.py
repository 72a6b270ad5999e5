"""The leader looks after money now and then: it tells of hours in which far more than usual was
spent with a credential, and deletes what the gateway keeps no longer.

What was told stands in one shared document, so that it is told once over all workers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson

from perdure.core import anomaly
from perdure.core.anomaly import HOUR, Rule
from perdure.core.budget import PREFIX, ended
from perdure.core.charge import NANO
from perdure.core.hooks import SpendAnomaly
from perdure.core.keys import part
from perdure.core.shared import Shared, Swap
from perdure.errors import PerdureError
from perdure.store.base import Store
from perdure.store.costs import CostFilter

log = logging.getLogger("perdure.spending")

EVERY = timedelta(minutes=5)
DOCUMENT = "spend/anomalies"
KEPT = 100  # anomalies in it
GROUPS = 100_000  # of hour and credential
PORTION = 100  # answers or documents that are deleted in one transaction
PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class SpendingSettings:
    """``days``: how far back an hour is compared; 0: none is. ``budgets``: the names of those that
    begin anew, whose old documents are deleted."""

    days: int = 7
    rule: Rule = field(default_factory=Rule)
    budgets: tuple[str, ...] = ()


class Spending:
    """Of one worker."""

    def __init__(
        self, store: Store, settings: SpendingSettings, tell: Callable[[SpendAnomaly], None]
    ) -> None:
        self._store = store
        self._settings = settings
        self._tell = tell
        self._history: dict[str, dict[str, int]] = {}  # credential -> hour -> spent
        self._until = ""  # the hour before which it is known
        self._closed = ""  # the hour in which old documents were looked for

    async def run(self, leading: Callable[[], bool]) -> None:
        """Looks, until cancelled, for as long as this worker leads."""
        while True:
            await asyncio.sleep(EVERY.total_seconds())
            if not leading():
                continue
            try:
                await self.look()
                await self.lapse(leading)
                await self.close_books(leading)
            except PerdureError as error:
                log.warning("Spending could not be looked after: %s", error)
            except Exception:
                log.exception("Spending could not be looked after")

    async def look(self) -> list[SpendAnomaly]:
        """Tells, and returns, what nobody was told of yet. Raises StoreUnavailable."""
        if not self._settings.days:
            return []
        now = await self._store.now()
        this = now.replace(minute=0, second=0, microsecond=0)
        # What was spent at the end of the hour before may not have been looked at.
        recent = await self._spent(this - HOUR, None)
        await self._learn(this - HOUR)
        found = []
        for credential, hours in recent.items():
            known = self._history.get(credential, {})
            for hour in sorted(hours):
                judged = anomaly.judge({**known, **hours}, hour, hours[hour], self._settings.rule)
                if judged is not None and judged.unusual:
                    found.append(SpendAnomaly(hour, credential, hours[hour], judged.usual))
        fresh = await _note(self._store, found) if found else []
        for each in fresh:
            self._tell(each)
        return fresh

    async def lapse(self, goes_on: Callable[[], bool] = lambda: True) -> int:
        """Deletes cached answers that are too old, a portion at a time; returns how many. Raises
        StoreUnavailable."""
        rows = 0
        while goes_on():
            lapsed = await self._store.lapse(PORTION)
            rows += lapsed.rows
            if not lapsed.left:
                break
            await asyncio.sleep(PAUSE_S)
        return rows

    async def close_books(self, goes_on: Callable[[], bool] = lambda: True) -> int:
        """Deletes the documents of budgets' past periods, once an hour; returns how many. Raises
        StoreUnavailable."""
        hour = anomaly.name(await self._store.now())
        if hour == self._closed:
            return 0
        count = 0
        for name in self._settings.budgets:
            while goes_on():
                # By their keys the oldest periods come first.
                listed = await self._store.listed(f"{PREFIX}{part(name)}/", PORTION)
                swaps = [
                    Swap(key, document.version, b"")
                    for key, document in listed.documents.items()
                    if ended(key, listed.now)
                ]
                if not swaps:
                    break
                if (await self._store.swap([], swaps)).done:
                    count += len(swaps)
                await asyncio.sleep(PAUSE_S)
        if goes_on():
            self._closed = hour
        return count

    async def _learn(self, until: datetime) -> None:
        """The hours before ``until``: read once an hour."""
        name = anomaly.name(until)
        if name != self._until:
            since = until - timedelta(days=self._settings.days)
            self._history = await self._spent(since, until)
            self._until = name

    async def _spent(self, since: datetime, until: datetime | None) -> dict[str, dict[str, int]]:
        rows = await self._store.costs(
            CostFilter(since=since, until=until, by=("hour", "credential"), limit=GROUPS)
        )
        found: dict[str, dict[str, int]] = {}
        for row in rows:
            if row.cost:
                hours = found.setdefault(row.group["credential"], {})
                hours[row.group["hour"]] = row.cost
        return found


async def told(
    shared: Shared, since: datetime | None = None, until: datetime | None = None
) -> list[dict[str, Any]]:
    """What was told of the hours from ``since`` on and before ``until``, newest first. Raises
    StoreUnavailable."""
    document = (await shared.swap([DOCUMENT])).documents[DOCUMENT]
    first, end = (None if at is None else anomaly.name(at) for at in (since, until))
    return [
        {
            "hour": hour,
            "credential": credential,
            "spent_usd": spent / NANO,
            "usual_usd": usual / NANO,
        }
        for hour, credential, spent, usual in reversed(_read(document.body))
        if (first is None or hour >= first) and (end is None or hour < end)
    ]


async def _note(shared: Shared, found: list[SpendAnomaly]) -> list[SpendAnomaly]:
    """Those that nobody was told of: they are noted as told."""
    swapped = await shared.swap([DOCUMENT])
    while True:
        document = swapped.documents[DOCUMENT]
        before = _read(document.body)
        known = {(row[0], row[1]) for row in before}
        fresh = [each for each in found if (each.hour, each.credential) not in known]
        if not fresh:
            return []
        rows = sorted([*before, *map(list, fresh)])[-KEPT:]
        swapped = await shared.swap([], [Swap(DOCUMENT, document.version, orjson.dumps(rows))])
        if swapped.done:
            return fresh


def _read(body: bytes) -> list[list[Any]]:
    rows: list[list[Any]] = orjson.loads(body) if body else []
    return rows
