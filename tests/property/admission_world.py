"""A small world for admission: a keeper of documents, workers that die, and a provider that counts.

Virtual time, one thread. Providers count what really arrives; workers know only what a worker can:
an estimate of the keeper's clock from below, documents that may be old, and their own memory.
"""

from __future__ import annotations

import heapq
import json
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from perdure.core.admission.admit import admit
from perdure.core.admission.demand import Admitted, Demand, Later, Outcome, Usage
from perdure.core.admission.flight import Hand
from perdure.core.admission.limits import Limit, Pool, What
from perdure.core.admission.settle import settle
from perdure.core.admission.state import decode, fresh


class Window:
    """A hard window: any ``per`` seconds hold ``amount``."""

    def __init__(self, amount: float, per: float) -> None:
        self.amount, self.per, self.used = amount, per, 0.0
        self.events: deque[tuple[float, float]] = deque()

    def take(self, tokens: float, now: float, *, force: bool = False) -> bool:
        while self.events and self.events[0][0] <= now - self.per:
            self.used -= self.events.popleft()[1]
        if not force and (self.used + tokens > self.amount or self.used >= self.amount):
            return False
        self.events.append((now, tokens))
        self.used += tokens
        return True


class Bucket:
    """A bucket of ``capacity`` that refills at ``rate`` a second."""

    def __init__(self, capacity: float, rate: float) -> None:
        self.capacity, self.rate, self.level, self.at = capacity, rate, capacity, 0.0

    def take(self, tokens: float, now: float, *, force: bool = False) -> bool:
        self.level = min(self.capacity, self.level + self.rate * (now - self.at))
        self.at = now
        if not force and (self.level < tokens - 1e-6 or self.level <= 0):
            return False
        self.level -= tokens
        return True


class Gauge:
    """What was really used: in all, and the most in any 60 s."""

    def __init__(self) -> None:
        self.events: deque[tuple[float, float]] = deque()
        self.used = self.most = 0.0
        self.all: list[tuple[float, float]] = []

    def add(self, tokens: float, now: float) -> None:
        while self.events and self.events[0][0] <= now - 60.0:
            self.used -= self.events.popleft()[1]
        self.events.append((now, tokens))
        self.used += tokens
        self.most = max(self.most, self.used)
        self.all.append((now, tokens))

    def between(self, start: float, end: float) -> float:
        return sum(tokens for at, tokens in self.all if start <= at < end)


KINDS = ("window", "bucket", "small bucket", "second")


def metered(what: What, amount: int, kind: str, *, produced: bool = False) -> Limit:
    """A limit of ``amount`` a minute as it is declared for that kind of provider."""
    charged = "produced" if produced else "admission"
    refund = what is not What.REQUESTS
    if kind == "small bucket":
        return Limit(what, amount, charged=charged, burst=amount / 10, refund=refund)  # type: ignore[arg-type]
    if kind == "second":
        return Limit(what, amount // 60, per=1.0, charged=charged, refund=refund)  # type: ignore[arg-type]
    return Limit(what, amount, charged=charged, refund=refund)  # type: ignore[arg-type]


def counter(amount: int, kind: str) -> Window | Bucket:
    if kind == "bucket":
        return Bucket(amount, amount / 60)
    if kind == "small bucket":
        return Bucket(amount / 10, amount / 60)
    if kind == "second":
        return Window(amount // 60, 1.0)
    return Window(amount, 60.0)


@dataclass
class Call:
    """``input``: what the provider counts of the prompt (less where the cache was hit)."""

    demand: Demand
    input: int
    cached: int
    output: int
    rate: float
    streams: bool
    tries: int = 0
    produced: float = 0.0
    admitted: Admitted | None = None


class Provider:
    """``amounts``: a minute's, by what is limited. Counts 429s instead of raising them."""

    def __init__(self, amounts: dict[What, int], kind: str) -> None:
        self.counters = {what: counter(amount, kind) for what, amount in amounts.items()}
        self.gauges = {what: Gauge() for what in amounts}
        self.refused: list[tuple[float, What]] = []
        self.calls = 0

    def arrive(self, call: Call, now: float) -> None:
        for what, meter in self.counters.items():
            tokens = {What.REQUESTS: 1, What.INPUT: call.input}.get(what, 0)
            if not meter.take(tokens, now):
                self.refused.append((now, what))
                meter.take(tokens, now, force=True)
            if tokens:
                self.gauges[what].add(tokens, now)
        self.calls += 1

    def produce(self, tokens: float, now: float) -> None:
        if What.OUTPUT in self.counters:
            self.counters[What.OUTPUT].take(tokens, now, force=True)
            self.gauges[What.OUTPUT].add(tokens, now)


@dataclass
class World:
    """``fence``: whether a swap against an old version is refused. ``lost``: the keeper lost its
    documents once."""

    pool: Pool
    provider: Provider
    rng: random.Random
    fence: bool = True
    lost: bool = False
    now: float = 1_800_000_000.0
    version: int = 0
    body: bytes = b""
    largest: int = 0
    swaps: int = 0
    refusals: int = 0
    asked: dict[str, int] = field(default_factory=dict)
    started: list[tuple[float, str, float]] = field(default_factory=list)  # when, id, since
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    count: int = 0

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.events, (self.now + seconds, self.count, do))

    def run(self, until: float) -> None:
        while self.events and self.events[0][0] <= until:
            self.now, _, do = heapq.heappop(self.events)
            do()
        self.now = max(self.now, until)

    def swap(self, version: int, body: bytes) -> bool:
        self.swaps += 1
        if self.fence and version != self.version:
            self.refusals += 1
            return False
        self.version, self.body = self.version + 1, body
        self.largest = max(self.largest, len(body))
        return True

    def lose(self) -> None:
        """The documents are gone. Versions go on from another number: an old one never returns."""
        self.version, self.body, self.lost = self.version + 1_000_000, b"", True

    def load(self) -> tuple[int, bytes]:
        return self.version, self.body


class Worker:
    """One worker: asks when a call comes and when it was told to, beats each second."""

    def __init__(self, world: World, name: str, *, far: float = 0.003) -> None:
        self.world, self.hand = world, Hand(name)
        self.far, self.behind = far, world.rng.uniform(0.0, far)
        self.queue: list[Call] = []
        self.done: list[tuple[Call, Outcome]] = []
        self.version, self.body = world.load()
        self.dead = self.busy = False
        self.frozen = 0.0  # until when
        self.again = math.inf
        world.after(1.0, self.beat)

    def ask(self, call: Call) -> None:
        self.queue.append(call)
        if len(self.queue) <= 4:
            self.kick()

    def late(self, do: Callable[[], None]) -> bool:
        """Whether this worker is frozen: then it goes on with ``do`` when it no longer is."""
        if self.world.now < self.frozen:
            self.world.after(self.frozen - self.world.now + 0.001, do)
            return True
        return False

    def beat(self) -> None:
        if self.dead or self.late(self.beat):
            return
        if self.queue or self.done or self.hand.flights:
            self.kick()
        self.world.after(1.0, self.beat)

    def kick(self) -> None:
        """Decide on the documents as they were last seen; the swap arrives a little later."""
        if self.busy or self.dead or self.late(self.kick):
            return
        self.busy = True
        world, pool = self.world, self.world.pool
        now = world.now - self.behind
        state = (
            decode(json.loads(self.body), pool)
            if self.body
            else fresh(pool, now, strict=world.lost)
        )
        asking, settling = self.queue[:16], self.done[:]
        self.hand.waiting[pool.key] = len(self.queue)
        settle({pool.key: state}, self.hand, [outcome for _, outcome in settling], now)
        answers = admit({pool.key: state}, self.hand, [call.demand for call in asking], now)
        for call in asking:
            world.asked[call.demand.id] = world.asked.get(call.demand.id, 0) + 1
        body = json.dumps(state.encode(), separators=(",", ":")).encode()
        version = self.version

        def arrive() -> None:
            if self.dead and world.rng.random() < 0.5:
                return
            done = world.swap(version, body)
            seen = world.load()
            world.after(world.rng.uniform(0.2, 1.0) * self.far, lambda: answered(done, seen))

        def answered(done: bool, seen: tuple[int, bytes]) -> None:
            if self.late(lambda: answered(done, seen)):
                return
            self.busy = False
            if self.dead:
                return
            self.version, self.body = seen
            if done:
                del self.done[: len(settling)]
                self.take(asking, answers)
            if not done or (self.queue and self.again <= world.now) or self.done:
                self.kick()

        world.after(world.rng.uniform(0.2, 1.0) * self.far, arrive)

    def take(self, asking: list[Call], answers: list[Admitted | Later]) -> None:
        world = self.world
        ats = []
        for call, answer in zip(asking, answers, strict=True):
            if isinstance(answer, Later):
                call.demand = replace(call.demand, since=answer.since)
                ats.append(answer.at)
                continue
            self.queue.remove(call)
            self.hand.start(call.demand, answer)
            call.admitted = answer
            world.started.append((world.now, call.demand.id, call.demand.since))
            world.after(world.rng.uniform(0.0, 1.1 * answer.valid_s), lambda c=call: self.send(c))  # type: ignore[misc]
        if self.queue:
            if len(ats) < len(asking) or (len(self.queue) > len(asking) and not ats):
                ats.append(world.now)
            self.again = min(ats, default=world.now)
            world.after(max(0.0, self.again - world.now + self.behind), self.due)
        else:
            self.again = math.inf

    def due(self) -> None:
        if self.queue and self.again <= self.world.now:
            self.kick()

    def send(self, call: Call) -> None:
        world, admitted = self.world, call.admitted
        assert admitted is not None
        if self.dead or self.late(lambda: self.send(call)):
            return
        if world.now - self.behind > admitted.at + admitted.valid_s:
            self.hand.end(call.demand.id, None, sent=False)
            self.done.append((call, Outcome(admitted, None, sent=False)))
            self.ask(call)
            return
        way = world.rng.uniform(0.0, world.pool.slack / 2 - 2 * self.far)

        def arrived() -> None:
            world.provider.arrive(call, world.now)
            world.after(0.5, produce)

        def produce() -> None:
            tokens = min(call.output - call.produced, call.rate * 0.5)
            call.produced += tokens
            world.provider.produce(tokens, world.now)
            if self.dead and call.produced > 0.7 * call.output:
                return  # the provider notices, in the end
            if call.streams:
                self.hand.saw(call.demand.id, int(call.produced))
            if call.produced < call.output:
                world.after(0.5, produce)
            elif not self.dead:
                self.finish(call)

        world.after(max(0.0, way), arrived)

    def finish(self, call: Call) -> None:
        assert call.admitted is not None
        usage = Usage(call.input, call.cached, 0, call.output)
        self.hand.end(call.demand.id, call.output)
        took = self.world.now - call.admitted.at
        self.done.append((call, Outcome(call.admitted, usage, took_s=took)))
        self.kick()


@dataclass(frozen=True)
class Mix:
    """Calls of a kind: prompts up to ``prompt`` tokens, outputs up to ``ceiling``, heavy-tailed."""

    prompt: int
    ceiling: int
    rate: float = 80.0
    sigma: float = 1.0
    hits: float = 0.3  # share of calls whose prompt is mostly cached

    @property
    def mean(self) -> float:
        """Of the outputs."""
        return self.ceiling / 6

    def call(self, rng: random.Random, number: int, pool: str, *, tenants: int = 2) -> Call:
        prompt = rng.randint(self.prompt // 5, self.prompt)
        cached = int(prompt * 0.8) if rng.random() < self.hits else 0
        mean = self.mean
        drawn = rng.lognormvariate(math.log(mean) - self.sigma**2 / 2, self.sigma)
        output = max(1, min(self.ceiling, int(drawn)))
        spread = mean * math.sqrt(math.exp(self.sigma**2) - 1)
        demand = Demand(
            f"c{number}", (pool,), f"t{rng.randrange(tenants)}", 0, 0.0,
            int(prompt * rng.uniform(1.0, 1.15)) + 1, self.ceiling, mean, spread**2, self.rate,
        )  # fmt: skip
        speed = self.rate * rng.uniform(0.75, 1.25)
        return Call(demand, prompt - cached, cached, output, speed, rng.random() < 0.5)


@dataclass(frozen=True)
class Cut(Mix):
    """Log-normal outputs of 200 tokens on average before they are cut off, at 400."""

    ceiling: int = 400
    sigma: float = 0.8
    mean: float = 177.0  # of what is left of them
    deviation: float = 115.0

    def call(self, rng: random.Random, number: int, pool: str, *, tenants: int = 2) -> Call:
        drawn = rng.lognormvariate(math.log(200) - self.sigma**2 / 2, self.sigma)
        output = max(1, min(self.ceiling, int(drawn)))
        demand = Demand(
            f"c{number}", (pool,), f"t{rng.randrange(tenants)}", 0, 0.0, self.prompt, self.ceiling,
            self.mean, self.deviation**2, self.rate,
        )  # fmt: skip
        speed = self.rate * rng.uniform(0.97, 1.0)
        return Call(demand, self.prompt, 0, output, speed, rng.random() < 0.5)


def load_of(mix: Mix, what: What) -> float:
    """The mean of what one call takes."""
    if what is What.INPUT:
        return 0.6 * mix.prompt * (1 - 0.8 * mix.hits)
    return 1.0 if what is What.REQUESTS else mix.mean


def feed(world: World, workers: list[Worker], mix: Mix, per_second: float, until: float) -> None:
    """Calls arrive at random, with jitter, at living workers."""
    number = 0

    def come() -> None:
        nonlocal number
        if world.now >= until:
            return
        number += 1
        living = [worker for worker in workers if not worker.dead]
        if living:
            world.rng.choice(living).ask(mix.call(world.rng, number, world.pool.key))
        world.after(world.rng.expovariate(per_second), come)

    world.after(0.0, come)
