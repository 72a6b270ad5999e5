"""The gateway of one worker: what its model calls are counted, bounded, routed and paid by.

It is put into ``Capture.trips``; every call that is not in its run's journal goes through it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random as chances
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from perdure.config import Config
from perdure.core.admission.demand import Demand
from perdure.core.admission.estimate import Estimate
from perdure.core.admission.limits import Pool
from perdure.core.budget import Crossing
from perdure.core.charge import Charge
from perdure.core.halt import halted, keys
from perdure.core.ports import About, Answers, Ticket
from perdure.core.shared import Shared
from perdure.core.tallies import Counts
from perdure.errors import StoreUnavailable
from perdure.gateway import markers
from perdure.gateway.admission import Admission
from perdure.gateway.answer import Answer
from perdure.gateway.board import Board
from perdure.gateway.cache import Cache, Place
from perdure.gateway.credentials import Credentials
from perdure.gateway.estimates import Learned
from perdure.gateway.formats import Question
from perdure.gateway.journey import Journey
from perdure.gateway.meters import limits_for
from perdure.gateway.pasts import Pasts, Used
from perdure.gateway.preflight import Preflights
from perdure.gateway.pricing import Pricing
from perdure.gateway.purse import Purse, said
from perdure.gateway.replays import Replays
from perdure.gateway.request import Request
from perdure.gateway.retries import RetrySettings
from perdure.gateway.targets import Choose, Targets
from perdure.gateway.trip import Call, Ended
from perdure.gateway.usage import Usage, reading
from perdure.gateway.wallet import Wallet

log = logging.getLogger("perdure.gateway")
MODELS = 4096  # whose limits are remembered: their names come from callers
WAITED = "perdure_limit_wait_seconds"
PARKED = "perdure_limit_parked_total"
REFUSED = "perdure_limit_refused_total"
RETRY_S = 0.25  # until the store is asked again whether calls are halted


class Gate:
    """``store`` keeps what is durable (budgets, switches, breakers), ``meters`` the limits: the
    same, or faster. ``spend`` enters a row into the ledger that belongs to no ticket. Use it, and
    ``close`` it, on the worker's event loop."""

    def __init__(
        self,
        config: Config,
        store: Shared,
        worker: str,
        retries: RetrySettings,
        spend: Callable[[Charge], None],
        *,
        meters: Shared | None = None,
        answers: Answers | None = None,
        crossed: Callable[[Crossing, About], None] | None = None,
        choose: Choose | None = None,
        counts: Counts | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = chances.random,
    ) -> None:
        self.retries = retries
        self.clock = clock
        self.random = random
        self.spend = spend
        self._counts = counts
        self.patience = config.gateway.patience.total_seconds()
        self.silence = config.gateway.silence.total_seconds()
        self.pricing = Pricing(config.prices)
        self._board = Board(store, clock)
        self.targets = Targets(
            config.routes, self._board, Credentials(config.keys, clock), random, choose
        )
        self.purse = Purse(
            Wallet(store, config.budgets, worker),
            self.pricing,
            config.gateway.max_output,
            self.patience,
        )
        self.admission = Admission(meters or store, worker)
        self.crossed = crossed or _told
        self.cache = Cache(config.agents, answers) if answers is not None else None
        self._marking = {name for name, agent in config.agents.items() if agent.prompt_cache}
        self._limits = config.limits
        self._known_pools: dict[tuple[str, str, str], tuple[Pool, ...]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._estimates = Learned(self._board)
        self._learning = bool(config.limits or config.routes)
        self._replays = Replays(self.pricing, spend)
        self.preflights = Preflights(
            config.agents, meters or store, self.purse.wallet, Pasts(self._board), worker,
            self._pools, clock,
        )  # fmt: skip
        self._ids = itertools.count()
        self._unhalted: dict[tuple[str, str], float] = {}  # until when that is known
        self._charge_ids = os.urandom(8)  # of this gate; rows of a run are unique among its own
        self._charge_numbers = itertools.count()

    def begin(self, call: Call, asked: Question, ticket: Ticket, about: About) -> Journey:
        """See ``Trips``."""
        return Journey(self, call, asked, ticket, about)

    def replayed(self, call: Call, asked: Question, answer: Answer, about: About) -> None:
        """See ``Trips``."""
        if self._loop is not None:
            model = asked.name.partition("/")[2]
            self._loop.call_soon_threadsafe(self._replayed, call, asked, model, answer, about)

    def _replayed(
        self, call: Call, asked: Question, model: str, answer: Answer, about: About
    ) -> None:
        if self.cache is not None:
            self.cache.replayed(asked, about)
        now = self._board.now()
        self._replays.add(call, model, answer, about, now)
        if self.preflights.follows(about):
            used, terms = reading(answer)
            if used is not None:
                cost = self.pricing.price(call.provider, model, used, now, terms).cost
                # Whose key it was is not known any more; the limits it needs then were learned.
                self.preflights.spent(about, used, cost, None)

    def spent(self, journey: Journey, used: Usage | None, cost: int | None) -> None:
        """What a try took of what its run was expected to."""
        if self.preflights.follows(journey.about):
            model = Used(journey.provider, journey.model, journey.credential)
            self.preflights.spent(journey.about, used, cost or 0, model)

    async def open(self) -> None:
        """Load the price lists, which takes a quarter of a second."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self.pricing.warm)

    async def close(self) -> None:
        """Give back what is left, enter what is not entered yet."""
        self._replays.flush()
        await self.preflights.close()
        await self.admission.close()
        await self._estimates.close()
        await self.purse.wallet.close()
        if self.cache is not None:
            await self.cache.close()

    def time(self) -> float:
        """The store's clock, never ahead of it, in seconds since 1970."""
        return self._board.now()

    def now(self) -> datetime:
        """The same as a time."""
        return datetime.fromtimestamp(self._board.now(), UTC)

    async def halted(self, about: About) -> str | None:
        """Why calls of this agent or tenant are refused; None: they are not. Waits while the store
        is away."""
        whose = about.agent, about.tenant
        if self.clock() < self._unhalted.get(whose, -1.0):
            return None
        wanted = keys(*whose)
        while True:
            try:
                found = halted(about.agent, about.tenant, await self._board.read(wanted))
                if found is not None:  # it may just have been lifted
                    fresh = await self._board.read(wanted, age=0.0)
                    found = halted(about.agent, about.tenant, fresh)
                break
            except StoreUnavailable:
                await asyncio.sleep(RETRY_S)
        if found is None:
            if len(self._unhalted) > MODELS:
                self._unhalted.clear()
            self._unhalted[whose] = self._board.good_until(wanted)
            return None
        what, halt = found
        by = f" by {halt.by}" if halt.by else ""
        return f"{what} was halted{by}" + (f": {halt.reason}" if halt.reason else "")

    def place(self, asked: Question, request: Request, about: About) -> Place | None:
        """Where the answer of an earlier call may be."""
        return None if self.cache is None else self.cache.place(asked, request, about)

    def charge_id(self) -> bytes:
        """A name for a row of the ledger that no other row has: two payments are never one."""
        return self._charge_ids + next(self._charge_numbers).to_bytes(8, "big")

    def marks(self, journey: Journey) -> bool:
        """Whether the journey's agent has asked for markers of prompt caching."""
        return journey.about.agent in self._marking

    def marked(self, journey: Journey) -> dict[str, Any] | None:
        """The request with markers of prompt caching; None: as it is."""
        request = journey.request
        if journey.about.agent not in self._marking or request.format != markers.FORMAT:
            return None
        if not markers.worthwhile(journey.model, request.size):
            return None
        return markers.marked(request.fields)

    def waited(self, journey: Journey, seconds: float, *, parks: bool) -> None:
        """A call has waited for room in its limits; ``parks``: in vain, and comes again."""
        if self._counts is not None:
            self._counts.took(WAITED, seconds, provider=journey.provider)
            if parks:
                self._counts.count(PARKED, provider=journey.provider)

    def refused(self, journey: Journey) -> None:
        """The provider said 429 to a call that had room by the limits."""
        if self._counts is not None:
            self._counts.count(REFUSED, provider=journey.provider, model=journey.model)

    def prompt_tokens(self, journey: Journey) -> int:
        """An estimate."""
        return self._estimate(journey).input

    def pools(self, journey: Journey) -> tuple[Pool, ...]:
        """The limits that a try needs room in."""
        return self._pools(journey.provider, journey.model, journey.credential)

    def _pools(self, provider: str, model: str, credential: str) -> tuple[Pool, ...]:
        if not self._limits:
            return ()
        key = provider, model, credential
        found = self._known_pools.get(key)
        if found is None:
            if len(self._known_pools) > MODELS:
                self._known_pools.clear()
            found = self._known_pools[key] = limits_for(self._limits, *key)
        return found

    def demand(self, journey: Journey, pools: Sequence[Pool], since: float) -> Demand:
        """What a try asks for."""
        about = journey.about
        guess = self._estimate(journey)
        return Demand(
            id=format(next(self._ids), "x"),
            pools=tuple(pool.key for pool in pools),
            tenant=about.tenant,
            priority=about.priority,
            since=since,
            input=guess.input,
            ceiling=guess.ceiling,
            expected=guess.expected,
            variance=guess.variance,
            rate=guess.rate,
        )

    def _estimate(self, journey: Journey) -> Estimate:
        about, request = journey.about, journey.request
        return self._estimates.estimate(
            journey.provider, journey.model, request.size, journey.bound, about.agent, about.step
        )

    def learned(self, journey: Journey, ended: Ended, used: Usage | None) -> None:
        """What a try that is over says about the next ones."""
        if used is None or ended.severity is not None or not self._learning:
            return
        about = journey.about
        seconds = None if ended.first is None else ended.took - ended.first
        self._estimates.saw(
            journey.provider, journey.model, journey.request.size, used, about.agent, about.step,
            seconds,
        )  # fmt: skip


def _told(crossing: Crossing, about: About) -> None:
    log.warning("%s", said(crossing))
