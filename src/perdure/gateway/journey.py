"""One model call's way through kill switch, route, budget and admission: see ``Trip``.

Each try may go to another target. Money is reserved before room is asked for, and given back where
the room is not there soon: what waits for long holds nothing.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

from perdure import codec
from perdure.core.admission.demand import Later
from perdure.core.admission.demand import Usage as Used
from perdure.core.budget import Crossing, Hold, Spender
from perdure.core.ports import About, Ticket
from perdure.core.retry import Severity
from perdure.core.routing import Asked
from perdure.errors import ConfigError
from perdure.gateway import entries
from perdure.gateway.answer import Answer
from perdure.gateway.course import Course
from perdure.gateway.credentials import named
from perdure.gateway.formats import Question
from perdure.gateway.levels import levels
from perdure.gateway.outgoing import Outgoing
from perdure.gateway.purse import Broke, Busy, said
from perdure.gateway.refusal import refuse
from perdure.gateway.request import Request
from perdure.gateway.targets import Chosen, url
from perdure.gateway.telling import tell
from perdure.gateway.tries import ENOUGH, Tries
from perdure.gateway.trip import Call, Ended, Go, Next, Rest
from perdure.gateway.usage import Usage, reading
from perdure.gateway.watch import Watch

if TYPE_CHECKING:
    from perdure.gateway.admission import Pass
    from perdure.gateway.gate import Gate

BUSY_S = 5.0  # a call that waits for money that others hold rests so long
BRIEF_S = 0.5  # room that holds for less may be gone when a connection is there


class Journey:
    """See ``Trip``. Made, and used, on the worker's event loop."""

    local = False

    def __init__(
        self, gate: Gate, call: Call, asked: Question, ticket: Ticket, about: About
    ) -> None:
        self.gate = gate
        self._call = call
        self.ticket = ticket
        self.about = about
        self.request = Request(
            call.wire.name, call.body, asked.name.partition("/")[2], streamed=asked.streamed
        )
        self._place = gate.place(asked, self.request, about)
        self._tries: Tries | None = None
        noted = orjson.loads(ticket.noted) if ticket.noted else {}
        self._since: float = noted.get("since", 0.0)
        self._course = Course(gate, noted.get("broken", ()))
        self._bound: int | None = None
        self._pass: Pass | None = None
        self._hold: Hold | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._said = 0  # bytes of words that a stream brought
        self._credential = call.credential or named(call.headers)
        self._void = False

    # -- where it goes ----------------------------------------------------------------------------

    @property
    def chosen(self) -> Chosen | None:
        """The target of this try; None: where the SDK sends it."""
        return self._course.chosen

    @property
    def provider(self) -> str:
        """Of this try."""
        chosen = self.chosen
        return (chosen.target.provider if chosen else "") or self._call.provider

    @property
    def model(self) -> str:
        """Of this try."""
        chosen = self.chosen
        return (chosen.target.model if chosen else "") or self.request.model

    @property
    def bound(self) -> int | None:
        """The most that this try may say, in tokens."""
        return self._bound if self._bound is not None else self.request.bound

    @property
    def credential(self) -> str:
        """Of this try, by its label."""
        chosen = self.chosen
        return (chosen.target.key if chosen else "") or self._credential

    @property
    def hides_usage(self) -> bool:
        """See ``Trip``."""
        return self.request.asks_for_usage

    async def go(self) -> Go | Rest | Answer:
        """See ``Trip``."""
        self._loop = asyncio.get_running_loop()
        try:
            if (stop := await self.gate.halted(self.about)) is not None:
                return self._refused(403, stop)
            if self._tries is None:  # now the store's clock is known, which the deadline is of
                self._tries = Tries(
                    self.gate.retries, self.gate.clock, self.gate.random, self._deadline()
                )
            if self._place is not None and (known := await self._place.find()) is not None:
                return self._recalled(known)
            routable = self.request.shape is not None and self._call.provider != "bedrock"
            await self._course.choose(self._facts, routable=routable)
            entered = await self._enter()
            if self._pass is None and self._hold is None:
                return entered
            # It may have waited for longer than a switch may take.
            if (stop := await self.gate.halted(self.about)) is not None:
                await self.unsent()
                return self._refused(403, stop)
            return entered
        except ConfigError as error:
            return self._refused(500, f"{error.message} {error.hint or ''}".strip())

    def _recalled(self, answer: Answer) -> Answer:
        """An answer from the cache: in the ledger for what it spared, in the events for what it
        says."""
        self.ticket.charge(entries.recalled(self, *reading(answer)))
        if answer.streamed:
            kind = dict(answer.headers).get("content-type", "").partition(";")[0].strip().lower()
            if words := Watch(self._call.wire.judge, kind).feed(answer.body):
                self.ticket.delta(codec.encode({"text": words}))
        return answer

    def _deadline(self) -> float | None:
        if self.about.deadline is None:
            return None
        return self.gate.clock() + (self.about.deadline - self.gate.now()).total_seconds()

    def _facts(self) -> Asked:
        about = self.about
        return Asked(
            self.request.model, about.agent, about.step, about.tenant, about.difficulty,
            self.gate.prompt_tokens(self), about.run_id or "", about.session,
        )  # fmt: skip

    async def _enter(self) -> Go | Rest | Answer:
        gate, now = self.gate, self.gate.time()
        if gate.purse.wallet.budgets or self.about.budget is not None:
            funded = await gate.purse.fund(
                self._spender(),
                self.provider,
                self.model,
                self.request,
                now,
                self.about.budget,
                gate.preflights.aside(self.about.run_id),
            )
            if isinstance(funded, Broke):
                await self._course.unsaid()
                return self._refused(402, funded.detail)
            if isinstance(funded, Busy):
                return self._rest(now + BUSY_S, funded.detail)
            self._hold, self._bound = funded.hold, funded.bound
        pools = gate.pools(self)
        if not pools:
            return Go(self._outgoing())
        demand, begun = gate.demand(self, pools, self._since), gate.clock()
        try:
            got = await gate.admission.enter(self.provider, demand, pools, gate.patience)
        except BaseException:
            self._give_back()
            raise
        gate.waited(self, gate.clock() - begun, parks=isinstance(got, Later))
        if isinstance(got, Later):
            self._give_back()
            self._since = got.since
            return self._rest(got.at, f"room in {got.bound[0]} ({got.bound[1]})")
        self._pass = got
        return Go(self._outgoing(), self._expired, self._renew if _brief(got) else None)

    def _expired(self) -> bool:
        return self._pass is not None and self._pass.expired()

    async def _renew(self) -> bool:
        """Room anew: where limits are of seconds, making a connection may take longer than what was
        given holds."""
        gate, old = self.gate, self._pass
        if old is None:
            return False
        self._leave_pass(None, sent=False)
        pools = gate.pools(self)
        demand = gate.demand(self, pools, self._since or old.admitted.at)
        got = await gate.admission.enter(self.provider, demand, pools, gate.patience)
        if isinstance(got, Later):
            self._since = got.since
            return False
        self._pass = got
        return True

    def _rest(self, until: float, detail: str) -> Rest:
        note = {"since": self._since, "broken": self._course.broken}
        when = datetime.fromtimestamp(until, UTC)
        return Rest(when, f"{self.provider}/{self.model}: {detail}", orjson.dumps(note))

    def _spender(self) -> Spender:
        about = self.about
        return Spender(about.run_id or "", about.session, about.agent, about.feature, about.tenant)

    def _outgoing(self) -> Outgoing | None:
        chosen, request = self.chosen, self.request
        if request.shape is None or self._as_asked():
            return None
        target = chosen.target if chosen else None
        model = target.model if target and target.model != request.model else ""
        headers, dropped = (
            self.gate.targets.headers(self._call, target) if target else ({}, frozenset[str]())
        )
        field = "max_tokens" if self.provider not in ("openai", "azure") else ""
        body, marked = None, self.gate.marked(self)
        if model or self._bound is not None or request.asks_for_usage or marked:
            body = request.changed(
                model=model, bound=self._bound, field=field, usage=True, fields=marked
            )
        where = url(target, request) if target else ""
        silence = self._silence()
        if not (where or headers or dropped or body or silence):
            return None
        return Outgoing(where, headers, dropped, body, silence)

    def _as_asked(self) -> bool:
        """Whether the request can go out as it is: most do."""
        return (
            self.chosen is None
            and self._bound is None
            and self.about.deadline is None
            and not self.request.asks_for_usage
            and not self.gate.marks(self)
        )

    def _silence(self) -> float | None:
        """With other targets to go to, or a deadline, a provider may not be silent for ever."""
        limits = []
        if self._course.has_others:
            limits.append(self.gate.silence)
        if (deadline := self._deadline()) is not None:
            limits.append(max(0.1, deadline - self.gate.clock()))
        return min(limits, default=None)

    def _refused(self, status: int, words: str) -> Answer:
        return refuse(self._call.wire, status, f"perdure: {words}")

    # -- how it went ------------------------------------------------------------------------------

    def produced(self, text: str) -> None:
        """See ``Trip``."""
        self._said += len(text.encode())
        taken = self._pass
        if taken is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(taken.saw, self._said // 4)

    async def over(self, ended: Ended) -> Next:
        """See ``Trip``."""
        used, terms = reading(ended.answer)
        sent = ended.reached or ended.what not in ("ConnectError", "ConnectTimeout")
        if ended.void:
            used = entries.void(self, used, self._said)
        charge, cost = entries.ended(self, ended, used, terms)
        self.ticket.charge(charge)
        tell(charge)
        if self._pass is not None:
            self._pass.heard(levels(ended.headers))
            if ended.answer.status == 429 and ended.severity is Severity.RETRYABLE:
                after = ended.retry_after
                self.gate.refused(self)
                self._pass.refused(after.total_seconds() if after else 0.0)
        self._leave_pass(used, sent=sent, took_s=ended.took)
        self.gate.learned(self, ended, used)
        self.gate.spent(self, used, cost)
        if (hold := self._hold) is not None:
            self._hold = None
            paid = self._paid(ended, hold, cost, sent)
            self._crossed(await self.gate.purse.wallet.settle(hold, paid))
        await self._course.went(ended)
        if ended.severity is None:
            if self._place is not None and used is not None and self._lasting(used):
                self._place.keep(ended.answer)
            return ENOUGH
        self._void = ended.void
        if ended.void:
            self._course.broke()
            return ENOUGH
        assert self._tries is not None
        return self._course.following(ended, self._tries)

    def _lasting(self, used: Usage) -> bool:
        """Whether others who ask the same should have this answer: it was not cut by a bound of
        ours, and is no fallback model's."""
        if self._bound is not None and used.output >= self._bound // self.request.choices:
            return False
        route = self._course.route
        return route is None or self.model in (
            self.request.model,
            route.targets[0].model or self.request.model,
        )

    def _crossed(self, crossings: list[Crossing], *, told: bool = True) -> None:
        for crossing in crossings:
            if told:
                self.ticket.warning("budget_soft", f"{said(crossing)}.")
            self.gate.crossed(crossing, self.about)

    @staticmethod
    def _paid(ended: Ended, hold: Hold, cost: int | None, sent: bool) -> int:
        """What a reservation turns into. What was sent and never answered may have cost anything;
        an answer that refuses costs nothing."""
        if cost is not None:
            return cost
        if not sent or (ended.reached and ended.answer.status >= 400):
            return 0
        return hold.amount

    async def unsent(self) -> None:
        """See ``Trip``."""
        if (taken := self._pass) is not None:  # it keeps its place in line
            self._since = self._since or taken.demand.since or taken.admitted.at
        self._leave_pass(None, sent=False)
        self._give_back()
        await self._course.unsaid()

    def _leave_pass(
        self, used: Usage | None, *, sent: bool = True, took_s: float | None = None
    ) -> None:
        taken, self._pass = self._pass, None
        if taken is not None:
            taken.leave(_used(used), sent=sent, took_s=took_s)

    def _give_back(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            self.gate.purse.wallet.settle_soon(hold, 0)

    async def leave(self) -> None:
        """See ``Trip``."""
        self._leave_pass(None)
        self._give_back()

    def abandoned(self) -> None:
        """See ``Trip``."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._abandon)

    def _abandon(self) -> None:
        """What was sent may have been paid for: it keeps its charge and its reservation."""
        hold, self._hold = self._hold, None
        if self._pass is None and hold is None:
            return
        self._leave_pass(None)
        if hold is not None:
            self.gate.purse.wallet.settle_soon(
                hold, hold.amount, lambda crossings: self._crossed(crossings, told=False)
            )
        self.gate.spend(entries.given_up(self, hold.amount if hold else 0))

    def note(self) -> bytes | None:
        """See ``Trip``."""
        course = self._course
        if not self._void or course.route is None or course.route.stream != "again":
            return None  # the SDK sees it, and its run may try again as after any error
        if self.about.run_id is None or len(course.broken) >= self.gate.retries.policy.attempts:
            return None
        return orjson.dumps({"since": 0.0, "broken": course.broken})


def _brief(taken: Pass) -> bool:
    return taken.admitted.valid_s < BRIEF_S


def _used(used: Usage | None) -> Used | None:
    if used is None:
        return None
    fresh = max(0, used.input - used.cache_read - used.cache_write)
    return Used(fresh, used.cache_read, used.cache_write, used.output)
