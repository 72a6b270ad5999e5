"""Admission over all workers: when a call may go on the wire, so that no provider has to refuse it.

What decides is ``perdure.core.admission``; here calls of one worker are brought to it together. All
calls of a provider that wait, and those that ended since, make one change of the documents of its
pools; a round follows when somebody comes, when somebody's time has come, and once a second as
long as anything waits or is in flight, so that the others know this worker is there.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from perdure.core.admission.admit import admit
from perdure.core.admission.demand import Admitted, Demand, Later, Outcome, Usage
from perdure.core.admission.flight import Hand
from perdure.core.admission.learn import heard, refused
from perdure.core.admission.limits import Pool
from perdure.core.admission.loss import recall, remade
from perdure.core.admission.settle import leave, settle
from perdure.core.admission.state import State, decode, fresh
from perdure.core.shared import Shared, Swap
from perdure.gateway.desk import Desk, Opening
from perdure.gateway.levels import Level

Lesson = Callable[[State, float], None]
BEAT_S = 1.0
LINGER_S = 0.05  # for which what ended waits for the next call to go along with, where nobody waits
_HEADS = 16  # waiting calls of a worker for the same pools that one round looks at


class Pass:
    """Room that a call has taken. ``leave`` is called once, with what it used."""

    __slots__ = ("_line", "admitted", "demand")

    def __init__(self, line: _Line, demand: Demand, admitted: Admitted) -> None:
        self._line = line
        self.demand = demand
        self.admitted = admitted

    def expired(self) -> bool:
        """Whether it may not go on the wire on this any more."""
        now = self._line.desk.latest()
        return now is None or now > self.admitted.at + self.admitted.valid_s

    def saw(self, tokens: int) -> None:
        """A stream has brought so many tokens by now, in all."""
        self._line.hand.saw(self.demand.id, tokens)

    def refused(self, retry_after_s: float) -> None:
        """The provider said 429 all the same. Tell before ``leave``."""
        at = self.admitted.at

        def learn(state: State, now: float) -> None:
            refused(state, now, admitted=at, retry_after_s=retry_after_s)

        self._line.learn(self.demand.pools, learn, at_once=True)

    def heard(self, told: Sequence[Level]) -> None:
        """The provider's headers say what is left. Tell before ``leave``."""
        if not told:
            return
        at = self.admitted.at

        def learn(state: State, now: float) -> None:
            for level in told:
                heard(state, level.what, level.remaining, now, rounded=level.rounded, admitted=at)

        self._line.learn(self.demand.pools, learn)

    def leave(self, usage: Usage | None, *, sent: bool = True, took_s: float | None = None) -> None:
        """It is over. ``usage`` None: nobody knows, and its charge stays."""
        self._line.over(self, usage, sent=sent, took_s=took_s)


class _Waiter:
    __slots__ = ("at", "came", "demand", "future", "patience")

    def __init__(self, demand: Demand, patience: float) -> None:
        self.demand = demand
        self.patience = patience
        self.at = 0.0  # by the keeper's clock
        loop = asyncio.get_running_loop()
        self.came = loop.time()
        self.future: asyncio.Future[Pass | Later] = loop.create_future()


class States:
    """The documents of some pools, opened."""

    def __init__(self, opening: Opening, pools: Mapping[str, Pool]) -> None:
        self.now = opening.now
        self._documents = opening.documents
        self.states = {key: _state(opening, key, pool) for key, pool in pools.items()}

    def swaps(self) -> Sequence[Swap]:
        return [
            Swap(key, self._documents[key].version, orjson.dumps(state.encode()))
            for key, state in self.states.items()
        ]


class _Line:
    """The calls of one provider."""

    def __init__(self, shared: Shared, worker: str) -> None:
        self.hand = Hand(worker)
        self.desk: Desk[States] = Desk(shared, self._open)
        self._pools: dict[str, Pool] = {}  # of what waits, is in flight or has ended
        self._waiters: list[_Waiter] = []
        self._outcomes: list[Outcome] = []
        self._lessons: list[tuple[tuple[str, ...], Lesson]] = []
        self._flight: dict[str, Pass] = {}
        self._round: dict[str, Pool] = {}
        self._wake = asyncio.Event()
        self._awaited = False  # calls of other workers wait for the same pools, as far as is known
        self._lingering: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def _open(self, opening: Opening) -> States:
        return States(opening, self._round)

    async def enter(self, demand: Demand, pools: Sequence[Pool], patience: float) -> Pass | Later:
        for pool in pools:
            self._pools[pool.key] = pool
        waiter = _Waiter(demand, patience)
        self._waiters.append(waiter)
        self._stir()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled():
                got = waiter.future.result()
                if isinstance(got, Pass):
                    got.leave(None, sent=False)
            self._stir()
            raise

    def over(self, ended: Pass, usage: Usage | None, *, sent: bool, took_s: float | None) -> None:
        if self._flight.pop(ended.demand.id, None) is None:
            return
        output = None if usage is None else usage.output
        self.hand.end(ended.demand.id, output, sent=sent)
        self._outcomes.append(Outcome(ended.admitted, usage, sent, took_s))
        if self._waiters or self._awaited:
            self._stir()
        elif self._lingering is None:
            loop = asyncio.get_running_loop()
            self._lingering = loop.call_later(LINGER_S, self._stir)

    def learn(self, pools: tuple[str, ...], lesson: Lesson, *, at_once: bool = False) -> None:
        """With the next round; ``at_once``: others have to know."""
        self._lessons.append((pools, lesson))
        if at_once:
            self._stir()

    async def close(self) -> None:
        """Enter what is over, and say goodbye."""
        self._calm()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        pools, outcomes = dict(self._pools), self._outcomes
        if pools:
            self._round = pools

            def act(session: States) -> None:
                settle(session.states, self.hand, outcomes, session.now)
                leave(session.states, self.hand.worker, session.now)

            await self.desk.ask(list(pools), act)

    def waiting(self) -> dict[str, int]:
        """How many calls wait, by pool."""
        return dict(self.hand.waiting)

    def _calm(self) -> None:
        timer, self._lingering = self._lingering, None
        if timer is not None:
            timer.cancel()

    def _stir(self) -> None:
        self._calm()
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time() - BEAT_S
        while True:
            self._waiters = [w for w in self._waiters if not w.future.done()]
            if not (self._waiters or self._outcomes or self._flight):
                self._pools.clear()
                self._wake.clear()
                return
            due = last + BEAT_S
            now = self.desk.now()
            soonest = min((w.at for w in self._waiters if w.at), default=None)
            if now is not None and soonest is not None:
                due = min(due, loop.time() + soonest - now)
            if not self._wake.is_set() and (delay := due - loop.time()) > 0:
                try:
                    async with asyncio.timeout(delay):
                        await self._wake.wait()
                except TimeoutError:
                    pass
            self._wake.clear()
            await asyncio.sleep(0)  # whoever comes in this turn of the loop goes along
            last = loop.time()
            try:
                await self._go()
            except Exception as error:
                for waiter in self._waiters:
                    if not waiter.future.done():
                        waiter.future.set_exception(error)
                self._outcomes.clear()
                raise

    async def _go(self) -> None:
        """One round."""
        self._calm()
        waiters = [w for w in self._waiters if not w.future.done()]
        outcomes, lessons = list(self._outcomes), list(self._lessons)
        self._round = dict(self._pools)
        self.hand.waiting = _counted(waiters)
        asking, others = _first(waiters)
        demands = [waiter.demand for waiter in asking]

        def act(session: States) -> list[Admitted | Later]:
            if outcomes:
                settle(session.states, self.hand, outcomes, session.now)
            for keys, lesson in lessons:
                for key in keys:
                    if key in session.states:
                        lesson(session.states[key], session.now)
            self._awaited = any(s.awaited(self.hand.worker) for s in session.states.values())
            return admit(session.states, self.hand, demands, session.now)

        answers = await self.desk.ask(list(self._round), act)
        del self._outcomes[: len(outcomes)]
        del self._lessons[: len(lessons)]
        now = self.desk.now()
        assert now is not None
        for waiter, answer in zip(asking, answers, strict=True):
            if isinstance(answer, Admitted):
                if others:
                    self._wake.set()  # there is room to look at others
                self.hand.start(waiter.demand, answer)
                taken = Pass(self, waiter.demand, answer)
                self._flight[waiter.demand.id] = taken
                if waiter.future.done():  # it has gone
                    taken.leave(None, sent=False)
                else:
                    waiter.future.set_result(taken)
                continue
            waiter.at = answer.at
            waiter.demand = _with_ticket(waiter.demand, answer.since)
            if answer.at - now > waiter.patience and not waiter.future.done():
                waiter.future.set_result(answer)
        latest = {a.pools: w for a, w in zip(demands, answers, strict=True) if isinstance(w, Later)}
        for waiter in others:
            if (last := latest.get(waiter.demand.pools)) is not None:
                _park(waiter, last, now)


class Admission:
    """Of one worker and one event loop."""

    def __init__(self, shared: Shared, worker: str) -> None:
        self._shared = shared
        self._worker = worker
        self._lines: dict[str, _Line] = {}
        self._ids = itertools.count()

    def ids(self) -> str:
        """A name for the next call."""
        return format(next(self._ids), "x")

    async def enter(
        self, provider: str, demand: Demand, pools: Sequence[Pool], patience: float
    ) -> Pass | Later:
        """Room for a call in all of ``pools``; or, where that would take longer than ``patience``
        seconds, when to come again."""
        line = self._lines.get(provider)
        if line is None:
            line = self._lines[provider] = _Line(self._shared, self._worker)
        return await line.enter(demand, pools, patience)

    def waiting(self) -> dict[str, int]:
        """How many calls of this worker wait, by pool."""
        found: dict[str, int] = {}
        for line in self._lines.values():
            found.update(line.waiting())
        return found

    async def close(self) -> None:
        """Give back what is left."""
        for line in self._lines.values():
            await line.close()
        self._lines.clear()


def _first(waiters: Sequence[_Waiter]) -> tuple[list[_Waiter], list[_Waiter]]:
    """Those that are next for their pools, and the others: no pool's queue is in another's way."""
    asking: list[_Waiter] = []
    others: list[_Waiter] = []
    looked_at: dict[tuple[str, ...], int] = {}
    for waiter in sorted(waiters, key=_order):
        pools = waiter.demand.pools
        looked_at[pools] = looked_at.get(pools, 0) + 1
        (asking if looked_at[pools] <= _HEADS else others).append(waiter)
    return asking, others


def _order(waiter: _Waiter) -> tuple[int, float]:
    """Who is looked at first: those with a ticket before those that have just come."""
    return -waiter.demand.priority, waiter.demand.since or float("inf")


def _park(waiter: _Waiter, last: Later, now: float) -> None:
    """What stands so far back that it was not looked at does not stay warm for ever; ``last`` is
    the last of those that were."""
    waited = asyncio.get_running_loop().time() - waiter.came
    if waited >= waiter.patience and not waiter.future.done():
        at = max(last.at, now + waiter.patience)
        waiter.future.set_result(Later(at, waiter.demand.since or now - waited, last.bound))


def _counted(waiters: Sequence[_Waiter]) -> dict[str, int]:
    found: dict[str, int] = {}
    for waiter in waiters:
        for key in waiter.demand.pools:
            found[key] = found.get(key, 0) + 1
    return found


def _with_ticket(demand: Demand, since: float) -> Demand:
    if demand.since == since:
        return demand
    values: dict[str, Any] = {name: getattr(demand, name) for name in demand.__slots__}
    return Demand(**{**values, "since": since})


def _state(opening: Opening, key: str, pool: Pool) -> State:
    """As it is there; where the keeper has lost it, of what is still known."""
    document, lost = opening.documents[key], opening.lost.get(key)
    known = decode(orjson.loads(lost), pool) if lost is not None else None
    if not document.version:
        if known is None:
            return fresh(pool, opening.now, full=opening.fresh)
        return remade(pool, known, opening.now)
    state = decode(orjson.loads(document.body), pool)
    if known is not None:
        recall(state, known, opening.now)
    return state
