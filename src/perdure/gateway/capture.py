"""Capture: which requests are model calls of a run, and what becomes of them.

The neutral core; it knows neither httpx nor httpx2. A transport asks :meth:`Capture.route` of
each request; where that names a route it builds a line and has :meth:`Capture.perform` serve the
call: from the journal when it is recorded there, else from the provider, recorded.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import NamedTuple

from perdure.core.ports import About, Boundary, Calls, Ticket
from perdure.errors import Diverged, PerdureError
from perdure.gateway.answer import Answer
from perdure.gateway.exchange import Exchange, Served
from perdure.gateway.formats import Format, Question
from perdure.gateway.line import Line
from perdure.gateway.providers import Providers
from perdure.gateway.refusal import refuse_error
from perdure.gateway.retries import RetrySettings
from perdure.gateway.tries import PlainTrip, Tries
from perdure.gateway.trip import Call, Trip, Trips
from perdure.gateway.unknown import UnknownHosts, named, wire_of


class Refused(NamedTuple):
    """A request that must not go out."""

    answer: Answer


class Passage(NamedTuple):
    """Where a model call goes. ``metered``: its provider is known, so that limits, budgets, routes
    and the ledger go for it."""

    provider: str
    wire: Format
    metered: bool = True


class Capture:
    """The settings of capture, and its counts.

    ``strays`` is told of model calls outside any run (rule T3): set by a worker; None elsewhere,
    where such calls are nobody's business. ``unmetered`` counts, by host, the model calls of runs
    to hosts that are not known, and POSTs to other paths of those that are, which pass by
    unrecorded. ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self,
        providers: Providers | None = None,
        retries: RetrySettings | None = None,
        *,
        strays: Calls | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        random: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        sleep_blocking: Callable[[float], None] = time.sleep,
    ) -> None:
        self.providers = providers or Providers()
        self.retries = retries or RetrySettings()
        self.strays = strays
        self.clock = clock
        self.now = now
        self.random = random
        self.sleep = sleep
        self.sleep_blocking = sleep_blocking
        self.trips: Trips | None = None  # set by a worker, with its limits, budgets and ledger
        self.unmetered: Counter[str] = Counter()
        self.unknown = UnknownHosts()

    def route(
        self, boundary: Boundary | None, method: str, host: str, port: int | None, path: str
    ) -> Passage | Refused | None:
        """What a request is: a model call of a run, one that strict mode refuses, or (None)
        nothing to capture."""
        route = self.providers.route(method, host, port, path)
        if route is None:
            if boundary is None or method != "POST" or (wire := wire_of(path)) is None:
                return None
            return Passage(named(host, port), wire, metered=False)
        if route.format is None:
            if boundary is not None:
                self.unmetered[host] += 1
            return None
        if boundary is not None:
            return Passage(route.provider, route.format)
        if self.strays is not None:
            try:
                self.strays.stray(host)
            except PerdureError as error:
                return Refused(refuse_error(route.format, error))
        return None

    def trip(self, call: Call, asked: Question, ticket: Ticket, about: About) -> Trip:
        """The way of a call that is not recorded yet."""
        if not call.metered:
            self.unmetered[call.provider] += 1
            self.unknown.tell(about.agent, call.provider, call.wire)
        elif self.trips is not None:
            return self.trips.begin(call, asked, ticket, about)
        return PlainTrip(Tries(self.retries, self.clock, self.random))

    async def perform(self, call: Call, line: Line) -> Served:
        """The answer to a model call of a run. Perdure's own refusals are answers too, because
        an SDK tries exceptions again."""
        asked = call.wire.ask(call.provider, call.path, call.headers, call.body)
        try:
            ticket = await line.ask(asked)
            if not ticket.live:
                answer = _replay(call, asked, Answer.decode(ticket.value))
                if self.trips is not None and call.metered:
                    self.trips.replayed(call, asked, answer, line.about)
                return Served(answer)
            return await Exchange(self, call, asked, ticket, line).serve()
        except PerdureError as error:
            return Served(refuse_error(call.wire, error))


def _replay(call: Call, asked: Question, answer: Answer) -> Answer:
    """A recorded answer, if whoever asks can read it: rule K7 may reuse the answer to a question
    that changed, but not where the agent changed its provider's API or began to stream."""
    if answer.status >= 400 or (
        answer.format == call.wire.name and answer.streamed == asked.streamed
    ):
        return answer
    was = f"a {'streamed' if answer.streamed else 'whole'} {answer.format} answer"
    now = f"a {'streamed' if asked.streamed else 'whole'} {call.wire.name} one"
    raise Diverged(
        f"{asked.name}: {was} is recorded at this place, and the agent now asks for {now}.",
        hint="Let the run end on the code that began it, or fork it before this call.",
    )
