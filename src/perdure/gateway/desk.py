"""Changes of shared documents, gathered: while one swap is under way whoever comes waits, and then
all of them go together. So a busy worker needs few round trips, and an idle one waits for nobody.

Each change is a pure function over the documents as this worker last saw them. Where another worker
was faster the swap is refused, its answer brings what is there now, and the functions are asked
again: nothing is ever decided on old news. Changes that share no document go side by side; of one
document one swap is under way at a time.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from perdure.core.shared import Document, Shared, Swap, Swapped
from perdure.errors import StoreUnavailable
from perdure.gateway.clock import Clock

log = logging.getLogger("perdure.gateway")
T = TypeVar("T")

RETRY_DELAYS = (0.05, 0.1, 0.25, 0.5, 1.0)  # seconds, when the keeper is away; the last repeats
CROWDED = 4  # refusals in a row after which a swap waits a little, so that all get their turn
CROWD_S = 0.002
ANEW_S = 0.01  # versions run ahead of the clock by less: they rise by some thousands a second


class Opening(NamedTuple):
    """What a session is opened on. ``number`` rises with each swap. ``fresh``: the keeper has lost
    what it kept; ``lost``: what this worker still knows of documents that were among that, and that
    it has not changed since."""

    documents: Mapping[str, Document]
    now: float
    number: int
    fresh: bool
    lost: Mapping[str, bytes] = {}


class Session(Protocol):
    """Changes of some documents."""

    def swaps(self) -> Sequence[Swap]:
        """What has changed."""


S = TypeVar("S", bound=Session)


class _Asked:
    __slots__ = ("act", "firm", "future", "keys", "undo")

    def __init__(
        self,
        keys: frozenset[str],
        act: Callable[[Any], Any],
        firm: Callable[[Any], bool],
        undo: Callable[[Any], None] | None,
    ) -> None:
        self.keys = keys
        self.act = act
        self.firm = firm
        self.undo = undo
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class Desk(Generic[S]):
    """Of one worker and one event loop. ``landed`` tells of swaps whose answer was lost whether
    they were made, from the documents that are there; without it they count as not made."""

    def __init__(
        self,
        shared: Shared,
        opened: Callable[[Opening], S],
        *,
        landed: Callable[[Sequence[Swap], Mapping[str, Document]], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        self._opened = opened
        self._landed = landed
        self._clock = clock
        self._known: dict[str, Document] = {}
        self._pending: list[_Asked] = []
        self._busy: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._due = False
        self._number = 0
        self._fresh = False
        self._seen: dict[str, float] = {}  # when, by the keeper's clock
        self._lost: dict[str, bytes] = {}
        self._keepers = Clock(clock)

    def now(self) -> float | None:
        """The keeper's clock, never ahead of it; None before its first answer."""
        return self._keepers.earliest()

    def latest(self) -> float | None:
        """The keeper's clock, never behind it; None before its first answer."""
        return self._keepers.latest()

    async def ask(
        self,
        keys: Sequence[str],
        act: Callable[[S], T],
        *,
        firm: Callable[[T], bool] = lambda result: True,
        undo: Callable[[T], None] | None = None,
    ) -> T:
        """What ``act`` says once its change of ``keys`` is made. It may be called several times,
        and only the last counts. A result that is not ``firm`` (a refusal) is believed only of
        documents as they are now. ``undo`` gets the result where the asker has gone by then."""
        asked = _Asked(frozenset(keys), act, firm, undo)
        self._pending.append(asked)
        if not self._due:
            self._due = True
            # In the loop's next turn, so that all who come in this one go together.
            asyncio.get_running_loop().call_soon(self._start)
        result: T = await asked.future
        return result

    def forget(self, keys: Sequence[str]) -> None:
        """Documents that nobody here needs any longer."""
        for key in keys:
            if key not in self._busy:
                for kept in (self._known, self._seen, self._lost):
                    kept.pop(key, None)

    async def drained(self) -> None:
        """Until nothing is under way."""
        while self._tasks or self._due:
            await asyncio.sleep(0)
            if self._tasks:
                await asyncio.wait(set(self._tasks))

    def _start(self) -> None:
        self._due = False
        waiting, self._pending = self._pending, []
        for group in _groups(waiting):
            keys = frozenset().union(*(asked.keys for asked in group))
            if keys & self._busy:
                self._pending += group
                continue
            self._busy |= keys
            task = asyncio.get_running_loop().create_task(self._carry_out(group, keys))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, group: list[_Asked], keys: frozenset[str]) -> None:
        try:
            await self._rounds(group, keys)
        except Exception as error:
            for asked in group:
                if not asked.future.done():
                    asked.future.set_exception(error)
        finally:
            self._busy -= keys
            if self._pending and not self._due:
                self._start()

    async def _rounds(self, group: list[_Asked], keys: frozenset[str]) -> None:
        current: set[str] = set()  # documents that were read since this began
        refusals = 0
        while group := [asked for asked in group if not asked.future.done()]:
            now = self.now()
            if now is None or not keys <= self._known.keys():
                self._learn(await self._swap(sorted(keys), ()), current)
                continue
            self._number += 1
            documents = {key: self._known[key] for key in keys}
            lost = {key: self._lost[key] for key in keys & self._lost.keys()}
            session = self._opened(Opening(documents, now, self._number, self._fresh, lost))
            results = [(asked, *_tried(asked.act, session)) for asked in group]
            swaps = session.swaps()
            doubtful = [r for r in results if r[2] is None and not r[0].firm(r[1])]
            unread = {key for asked, *_ in doubtful for key in asked.keys} - current
            if swaps or unread:
                used = {key: document.version for key, document in documents.items()}
                swapped = await self._swap(sorted(unread - {s.key for s in swaps}), swaps)
                self._learn(swapped, current)
                if not swapped.done:
                    refusals += 1
                    if refusals > CROWDED:
                        await asyncio.sleep(random.random() * CROWD_S * min(refusals, 50))
                    continue
                for swap in swaps:
                    self._lost.pop(swap.key, None)
                moved = {key for key in unread if self._known[key].version != used[key]}
                moved -= {swap.key for swap in swaps}
            else:
                moved = set()
            for asked, result, error in results:
                if error is None and not asked.firm(result) and asked.keys & moved:
                    continue  # decided on old news: once more
                _tell(asked, result, error)

    def _learn(self, swapped: Swapped, current: set[str]) -> None:
        for key, document in swapped.documents.items():
            before = self._known.get(key)
            if before is not None and before.version and swapped.fresh:
                # A first version is the keeper's time in microseconds, and the next are one more.
                since = document.version / 1_000_000
                if not document.version or since > self._seen[key] + ANEW_S:
                    self._lost.setdefault(key, before.body)
            self._known[key], self._seen[key] = document, swapped.now
        current |= swapped.documents.keys()
        self._fresh = swapped.fresh

    async def _swap(self, reads: Sequence[str], swaps: Sequence[Swap]) -> Swapped:
        """Until the keeper answers. Where the answer was lost, whether it was done."""
        tries, lost = 0, False
        while True:
            try:
                if not lost:
                    return await self._timed(reads, swaps)
                keys = sorted({*reads, *(swap.key for swap in swaps)})
                found = await self._timed(keys, ())
                made = self._landed is not None and self._landed(swaps, found.documents)
                return found._replace(done=made or not swaps)
            except StoreUnavailable as error:
                if not tries:
                    log.warning("The keeper of shared limits is away: %s", error)
                await asyncio.sleep(RETRY_DELAYS[min(tries, len(RETRY_DELAYS) - 1)])
                tries, lost = tries + 1, True

    async def _timed(self, reads: Sequence[str], swaps: Sequence[Swap]) -> Swapped:
        asked = self._clock()
        swapped = await self._shared.swap(reads, swaps)
        self._keepers.heard(swapped.now, asked, self._clock())
        return swapped


def _tried(act: Callable[[Any], Any], session: Any) -> tuple[Any, Exception | None]:
    try:
        return act(session), None
    except Exception as error:
        return None, error


def _tell(asked: _Asked, result: Any, error: Exception | None) -> None:
    if asked.future.done():  # whoever asked has gone
        if error is None and asked.undo is not None:
            asked.undo(result)
    elif error is not None:
        asked.future.set_exception(error)
    else:
        asked.future.set_result(result)


def _groups(asked: Sequence[_Asked]) -> list[list[_Asked]]:
    """Those that share a document, directly or through others, together; in their order."""
    groups: list[tuple[set[str], list[_Asked]]] = []
    for one in asked:
        keys, members = set(one.keys), []
        apart = []
        for group in groups:
            if group[0] & keys:
                keys |= group[0]
                members += group[1]
            else:
                apart.append(group)
        groups = [*apart, (keys, [*members, one])]
    return [members for _, members in groups]
