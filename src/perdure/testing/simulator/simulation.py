"""The simulator without any transport: takes a request in, gives back a ``Delivery``, keeps book.

Every state (ledger, fault plan, gate, waiters, stored responses) is guarded by one lock, decided
under it and acted on outside it, so that a test on one thread may look at and steer a server that
runs on another. Nothing here waits but the brain.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import orjson

from perdure.errors import PerdureError
from perdure.testing.simulator.answer import Delivery, resolve
from perdure.testing.simulator.brain import Brain, BrainError, Reply, echo
from perdure.testing.simulator.call import Call, Message
from perdure.testing.simulator.faults import Fault, FaultPlan, Match
from perdure.testing.simulator.gate import Gate, Hold
from perdure.testing.simulator.ledger import Counts, DigestCount, Ledger, Row, Status
from perdure.testing.simulator.outcome import limit, refuse, render, spoil, strike
from perdure.testing.simulator.quota.books import Accounting
from perdure.testing.simulator.quota.desk import Desk, Visit
from perdure.testing.simulator.quota.limit import Quota
from perdure.testing.simulator.quota.prompt_cache import PromptCache
from perdure.testing.simulator.quota.turnstile import Caller
from perdure.testing.simulator.tokens import canonical, count_tokens, digest_of, label_of
from perdure.testing.simulator.wire import Wire, WireError

__all__ = ["DEFAULT_ROWS", "Exchange", "Simulation"]

log = logging.getLogger("perdure.testing.simulator")

DEFAULT_ROWS = 1_000_000
_STORED = 10_000  # responses that `previous_response_id` can name


@dataclass(slots=True)
class Exchange:
    """One call on its way: what came in and what is decided about it."""

    wire: Wire
    row: Row
    token: object
    visit: Visit
    fault: Fault | None = None
    call: Call | None = None
    refusal: WireError | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Waiter:
    wanted: Mapping[str, int]
    future: Future[Counts]


class Simulation:
    """Brain, fault plan, ledger, desk (limits, books) and gate behind one lock. ``clock`` gives
    seconds since the epoch; ``rows`` bounds the ledger."""

    def __init__(
        self,
        brain: Brain = echo,
        faults: Iterable[Fault] = (),
        *,
        rows: int = DEFAULT_ROWS,
        clock: Callable[[], float] = time.time,
        limits: Iterable[Quota] = (),
        cache: PromptCache | None = None,
    ) -> None:
        self._brain = brain
        self._clock = clock
        self._lock = threading.Lock()
        self._faults = FaultPlan(faults)
        self._ledger = Ledger(rows)
        self._desk = Desk(limits, cache, now=clock())
        self._gate = Gate()
        self._waiters: list[_Waiter] = []
        self._stored: OrderedDict[str, tuple[tuple[Message, ...], int]] = OrderedDict()

    # -- a call's way through ---------------------------------------------------------------

    def open(
        self, wire: Wire, path: str, headers: Mapping[str, str], raw: bytes, target: str = ""
    ) -> Exchange:
        """Counts a request in and decides its fault. A malformed one becomes a refusal."""
        body: dict[str, Any] = {}
        refusal: WireError | None = None
        try:
            parsed = orjson.loads(raw)
            if not isinstance(parsed, dict):
                raise WireError(400, "The request body must be a JSON object.")
            body = {**parsed, **wire.told(path)}
        except orjson.JSONDecodeError:
            refusal = WireError(400, "The request body is not valid JSON.")
        except WireError as error:
            refusal = error
        shaped = canonical(wire.format, body)
        digest = digest_of(wire.format, body, shaped)
        streamed = body.get("stream") is True
        model = body["model"] if isinstance(body.get("model"), str) else ""
        key = _key_of(headers)
        with self._lock:
            now = self._clock()
            row, token = self._ledger.open(
                format=wire.format, path=path, model=model, digest=digest, streamed=streamed,
                now=now, target=target, key=key,
            )  # fmt: skip
            visit = self._desk.arrive(Caller(target, key, model, wire.format), row, now)
            fault = self._faults.strike(**_facts(row))
            waiters = self._due()
            earlier = self._stored.get(str(body.get("previous_response_id")))
        self._tell(waiters)
        exchange = Exchange(wire, row, token, visit, fault, refusal=refusal, headers=headers)
        if fault is not None:
            row.fault = fault.kind
        if refusal is None:
            try:
                self._read(exchange, body, count_tokens(shaped), earlier)
            except WireError as error:
                exchange.refusal = error
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                exchange.refusal = WireError(400, f"The request cannot be read: {error!r}")
        return exchange

    def _read(
        self,
        exchange: Exchange,
        body: dict[str, Any],
        tokens: int,
        earlier: tuple[tuple[Message, ...], int] | None,
    ) -> None:
        row = exchange.row
        if body.get("previous_response_id") is not None and earlier is None:
            raise WireError(
                400,
                f"Previous response with id '{body['previous_response_id']}' not found.",
                error_code="previous_response_not_found", param="previous_response_id",
            )  # fmt: skip
        past, past_tokens = earlier or ((), 0)
        question = exchange.wire.read(body, past)
        row.input_tokens = past_tokens + tokens
        exchange.call = Call(
            n=row.n, format=row.format, path=row.path, model=row.model,
            messages=question.messages, tools=question.tools, system=question.system,
            stream=row.streamed, digest=row.digest, occurrence=row.occurrence,
            input_tokens=row.input_tokens, body=body, headers=exchange.headers, target=row.target,
            key=row.key,
        )  # fmt: skip

    def respond(self, exchange: Exchange) -> Delivery | Awaitable[Delivery]:
        """What to send: at once, or awaitable when the brain is async. Never raises but for
        cancellation: a brain that fails is a 500 that SDKs do not retry."""
        fault, refusal = exchange.fault, exchange.refusal
        if fault is not None:
            early = strike(exchange.wire, exchange.row, fault, self._clock())
            if early is not None:
                return self._failed(exchange, early)
        call = exchange.call
        if refusal is not None or call is None:
            error = refusal or WireError(400, "The request is malformed.")
            return self._failed(exchange, refuse(exchange.wire, exchange.row, error))
        with self._lock:
            limited = self._desk.admit(exchange.visit, call.body, call.ceiling, self._clock())
        if limited is not None:
            return self._told(exchange, limit(exchange.wire, exchange.row, limited))
        if exchange.row.cache_read or exchange.row.cache_write:
            read, written = exchange.row.cache_read, exchange.row.cache_write
            exchange.call = call = replace(call, cache_read=read, cache_write=written)
        try:
            thought = self._brain(call)
        except Exception as error:
            return self._stumble(exchange, error)
        if inspect.isawaitable(thought):
            return self._await(exchange, thought)
        return self._conclude(exchange, thought)

    async def _await(self, exchange: Exchange, thought: Awaitable[object]) -> Delivery:
        try:
            outcome = await thought
        except Exception as error:
            return self._stumble(exchange, error)
        return self._conclude(exchange, outcome)

    def _conclude(self, exchange: Exchange, outcome: object) -> Delivery:
        """A delivery from what the brain said."""
        wire, row, call = exchange.wire, exchange.row, exchange.call
        now = self._clock()
        try:
            if isinstance(outcome, Fault):
                early = strike(wire, row, outcome, now)
                if early is None:
                    raise BrainError(
                        f"A brain can return a status, drop or hang, not {outcome.kind!r}."
                    )
                row.fault = outcome.kind
                return self._failed(exchange, early)
            if not isinstance(outcome, Reply) or call is None:
                raise BrainError(f"The brain returned {type(outcome).__name__}, not a Reply.")
            answer = resolve(call, outcome, int(now))
            delivery = render(wire, row, answer, outcome)
            if exchange.fault is not None:
                delivery = spoil(wire, row, exchange.fault, delivery, now)
        except Exception as error:
            return self._stumble(exchange, error)
        kept = wire.remember(answer)
        if kept is not None:
            self._remember(*kept, tokens=row.input_tokens + answer.usage.output)
        usage = answer.usage
        row.input_tokens, row.output_tokens = usage.input, usage.output
        row.cache_read, row.cache_write = usage.cache_read, usage.cache_write
        if delivery.outcome == "refused":
            return self._failed(exchange, delivery)
        with self._lock:
            self._desk.correct(exchange.visit, now)
        return self._told(exchange, delivery)

    def _failed(self, exchange: Exchange, delivery: Delivery) -> Delivery:
        """A call without an answer, which may count all the same."""
        with self._lock:
            self._desk.fail(exchange.visit, self._clock())
        return self._told(exchange, delivery)

    def _told(self, exchange: Exchange, delivery: Delivery) -> Delivery:
        """The delivery with the headers that tell where the limits stand."""
        levels = exchange.visit.levels
        if not levels:
            return delivery
        told = exchange.wire.levels(levels, self._clock())
        return replace(delivery, headers={**told, **delivery.headers})

    def begin(self, exchange: Exchange) -> None:
        """Production of the answer begins: its input is billed."""
        if not exchange.visit.begun:
            with self._lock:
                self._desk.begin(exchange.visit, self._clock())

    def produce(self, exchange: Exchange, total: int) -> None:
        """So many output tokens there are by now."""
        if total > exchange.row.billed_output:
            with self._lock:
                self._desk.produce(exchange.visit, total, self._clock())

    def _stumble(self, exchange: Exchange, error: Exception) -> Delivery:
        if not isinstance(error, PerdureError):
            log.error("the brain failed at call %d", exchange.row.n, exc_info=error)
        exchange.row.fault = "brain"
        words = f"The simulator's brain failed: {type(error).__name__}: {error}"
        headers = {"x-should-retry": "false"}
        stumbled = refuse(exchange.wire, exchange.row, WireError(500, words), headers)
        return self._failed(exchange, stumbled)

    def _remember(self, ident: str, messages: tuple[Message, ...], *, tokens: int) -> None:
        with self._lock:
            self._stored[ident] = (messages, tokens)
            if len(self._stored) > _STORED:
                self._stored.popitem(last=False)

    def pause(self, exchange: Exchange, sent: int, parts: int) -> Future[None] | None:
        """Called by the transport with ``sent`` of ``parts`` out: what to wait for, if held."""
        if not self.holding:
            return None
        row = exchange.row
        with self._lock:
            future = self._gate.arrive(
                lambda match: match.fits(**_facts(row)), sent, max(0, parts - 1)
            )
            waiters = self._due()
        self._tell(waiters)
        return future

    @property
    def holding(self) -> bool:
        """Whether answers are held from now on."""
        return self._gate.hold is not None

    def leave(self, future: Future[None]) -> None:
        """A held call's client went away."""
        with self._lock:
            self._gate.leave(future)

    def close(self, exchange: Exchange, status: Status) -> None:
        """Ends a call in the ledger. Only the first end counts."""
        with self._lock:
            now = self._clock()
            closed = self._ledger.close(exchange.row, exchange.token, status, now)
            self._desk.leave(exchange.visit, status, now)
            waiters = self._due() if closed else []
        self._tell(waiters)

    # -- what tests see and steer -----------------------------------------------------------

    def counts(self) -> Counts:
        """Totals, and what was paid twice."""
        with self._lock:
            return self._ledger.counts(self._gate.held)

    def count(self, digest: str) -> DigestCount:
        """How often one question was asked and answered (see ``digest_of``)."""
        with self._lock:
            return replace(self._ledger.digests.get(digest) or DigestCount())

    def digests(self) -> dict[str, DigestCount]:
        """The counts of every question."""
        with self._lock:
            return {digest: replace(c) for digest, c in self._ledger.digests.items()}

    def calls(self, *, after: int = 0, limit: int | None = None) -> list[Row]:
        """Copies of the rows with ``n`` above ``after``, oldest first."""
        with self._lock:
            rows = (row for row in self._ledger.rows if row.n > after)
            return [replace(row) for row in islice(rows, limit)]

    def reset(self) -> None:
        """Forgets ledger, accounting, fault plan and stored responses, empties the meters, and
        lets go what is held."""
        with self._lock:
            self._ledger.reset()
            self._desk.reset(None, self._clock())
            self._faults = FaultPlan()
            self._stored.clear()
            freed = self._gate.release()
            waiters = self._due()
        _free(freed)
        self._tell(waiters)

    def set_faults(self, faults: Iterable[Fault] | FaultPlan, *, target: str | None = None) -> None:
        """Replaces the fault plan, or its rules for one target; new rules start unused."""
        plan = faults if isinstance(faults, FaultPlan) else FaultPlan(faults)
        with self._lock:
            self._faults = plan if target is None else self._faults.replaced(plan, target=target)

    def set_limits(self, limits: Iterable[Quota]) -> None:
        """Replaces the limits; meters and accounting begin anew."""
        quotas = tuple(limits)
        with self._lock:
            self._desk.reset(quotas, self._clock())

    def limits(self) -> tuple[Quota, ...]:
        """The limits in force."""
        return self._desk.quotas

    def accounting(self, since: float | None = None, until: float | None = None) -> Accounting:
        """The provider's own books: see ``Accounting``."""
        with self._lock:
            return self._desk.accounting(since, until, self._clock())

    def faults(self) -> list[dict[str, Any]]:
        """The fault plan as JSON values, each rule with how often it ``struck``."""
        with self._lock:
            return self._faults.to_list()

    def hold(self, match: Match | None = None, *, after_chunks: int = 0) -> None:
        """Holds answers from now on: see ``Hold``. Replaces an earlier hold."""
        with self._lock:
            self._gate.hold = Hold(match or Match(), after_chunks)

    def release(self, count: int | None = None) -> int:
        """Lets the ``count`` oldest held answers go and keeps holding; with None lets all go and
        stops holding. Returns how many went."""
        with self._lock:
            freed = self._gate.release(count)
        return _free(freed)

    def expect(
        self,
        *,
        started: int = 0,
        finished: int = 0,
        answered: int = 0,
        held: int = 0,
    ) -> Future[Counts]:
        """A future that resolves when the counts have all reached these numbers (``held`` is how
        many are held at the same time)."""
        wanted = {"started": started, "finished": finished, "answered": answered, "held": held}
        future: Future[Counts] = Future()
        with self._lock:
            self._waiters.append(_Waiter(wanted, future))
            waiters = self._due()
        self._tell(waiters)
        return future

    def _due(self) -> list[tuple[_Waiter, Counts]]:
        """Takes out the waiters whose time has come. Under the lock."""
        if not self._waiters:
            return []
        counts = self._ledger.counts(self._gate.held)
        due: list[_Waiter] = []
        rest: list[_Waiter] = []
        for waiter in self._waiters:
            if waiter.future.done():
                continue
            reached = all(getattr(counts, name) >= n for name, n in waiter.wanted.items())
            (due if reached else rest).append(waiter)
        self._waiters = rest
        return [(waiter, counts) for waiter in due]

    def _tell(self, due: list[tuple[_Waiter, Counts]]) -> None:
        for waiter, counts in due:
            if waiter.future.set_running_or_notify_cancel():
                waiter.future.set_result(counts)


def _facts(row: Row) -> dict[str, Any]:
    return {
        "n": row.n, "model": row.model, "format": row.format, "path": row.path,
        "digest": row.digest, "stream": row.streamed, "target": row.target, "key": row.key,
    }  # fmt: skip


def _key_of(headers: Mapping[str, str]) -> str:
    """The API key, as the books call it."""
    bearer = headers.get("authorization", "").removeprefix("Bearer ")
    key = headers.get("x-api-key") or headers.get("x-goog-api-key") or bearer
    return label_of(key)


def _free(futures: list[Future[None]]) -> int:
    went = 0
    for future in futures:
        if future.set_running_or_notify_cancel():
            future.set_result(None)
            went += 1
    return went
