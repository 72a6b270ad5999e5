"""Limits and accounting of a simulated provider, on a clock of our own and without a transport."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from perdure.testing.simulator import Fault, Limit, Match, Quota, Reply, Row, Tally, Usage
from perdure.testing.simulator.answer import Delivery
from perdure.testing.simulator.brain import Brain
from perdure.testing.simulator.quota import turnstile
from perdure.testing.simulator.quota.books import MeterUse
from perdure.testing.simulator.quota.limit import read_quotas
from perdure.testing.simulator.simulation import Exchange, Simulation
from perdure.testing.simulator.steps import Cut, Part, Sleep, Step, steps
from perdure.testing.simulator.wire import WIRES

START = 1_800_000_000.0


@dataclass
class Provider:
    """A simulation, its clock, and calls that are carried out step by step."""

    limits: str | list[Quota]
    brain: Brain = lambda call: Reply("x" * 40)  # 10 tokens
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = START
        quotas = read_quotas(self.limits) if isinstance(self.limits, str) else self.limits
        self.simulation = Simulation(self.brain, self.faults, limits=quotas, clock=lambda: self.now)

    def begin(self, path: str = "/v1/messages", key: str = "k", **body: Any) -> Call:
        body = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}],
                **body}  # fmt: skip
        wire = WIRES[path]
        exchange = self.simulation.open(
            wire, path, {"x-api-key": key}, json.dumps(body).encode(), body.pop("target", "")
        )
        delivery = self.simulation.respond(exchange)
        assert not inspect.isawaitable(delivery)
        return Call(self, exchange, delivery)

    def call(self, path: str = "/v1/messages", **body: Any) -> Row:
        return self.begin(path, **body).finish()

    def use(self, name: str, since: float | None = None) -> MeterUse:
        (meter,) = (m for m in self.simulation.accounting(since).meters if m.limit == name)
        return meter


@dataclass
class Call:
    provider: Provider
    exchange: Exchange
    delivery: Delivery

    def __post_init__(self) -> None:
        self.todo: Iterator[Step] = steps(self.provider.simulation, self.exchange, self.delivery)

    @property
    def headers(self) -> dict[str, str]:
        return dict(self.delivery.headers)

    def until(self, seconds: float) -> None:
        """Carries on until the clock would pass this many seconds after the start."""
        simulation = self.provider.simulation
        for step in self.todo:
            match step:
                case Sleep(float(pause)):
                    self.provider.now += pause
                    if self.provider.now >= START + seconds:
                        return
                case Sleep(None):
                    return
                case Part(_, True) | Cut():
                    simulation.close(self.exchange, self.delivery.outcome)

    def finish(self) -> Row:
        self.until(1e9)
        return self.exchange.row

    def leave(self) -> Row:
        """The client goes away."""
        self.provider.simulation.close(self.exchange, "aborted")
        return self.exchange.row


def test_requests_over_the_limit_are_refused_and_counted() -> None:
    provider = Provider("rpm=2 kind=window")
    rows = [provider.call() for _ in range(3)]
    assert [(row.http_status, row.limited) for row in rows] == [
        (200, None), (200, None), (429, "RPM"),
    ]  # fmt: skip
    provider.now += 60
    assert provider.call().http_status == 200
    meter = provider.use("RPM")
    assert (meter.used, meter.largest, meter.largest_share, meter.limited) == (3, 2, 1.0, 1)
    assert meter.utilisation == pytest.approx(3 / 2)  # of one minute, both ends counted
    total = provider.simulation.accounting().total
    assert (total.requests, total.answered, total.limited) == (4, 3, 1)


def test_a_refused_call_counts_with_openai_and_costs_nothing() -> None:
    provider = Provider("rpm=1 kind=window")
    assert provider.call("/v1/chat/completions").http_status == 200
    provider.now += 30
    assert provider.call("/v1/chat/completions").http_status == 429
    provider.now += 45  # the first is out, the refused one is not
    assert provider.call("/v1/chat/completions").http_status == 429
    assert provider.use("RPM").used == 3
    kind = Provider("rpm=1 kind=window failed=no")
    assert kind.call("/v1/chat/completions").http_status == 200
    kind.now += 30
    assert kind.call("/v1/chat/completions").http_status == 429
    kind.now += 30
    assert kind.call("/v1/chat/completions").http_status == 200


@pytest.mark.parametrize(("path", "left"), [("/v1/messages", 3), ("/v1/chat/completions", 2)])
def test_a_call_that_fails_counts_with_openai(path: str, left: int) -> None:
    faults = [Fault("500", Match(nth=1)), Fault("error", Match(nth=2))]
    provider = Provider("rpm=3 kind=window", faults=faults[:1])
    assert provider.call(path).http_status == 500
    rows = [provider.call(path).http_status for _ in range(3)]
    assert rows.count(200) == left


def test_openai_tokens_are_the_larger_of_max_tokens_and_the_estimate() -> None:
    provider = Provider("tpm=1000 kind=window")
    chat = "/v1/chat/completions"
    assert provider.call(chat, max_tokens=None, max_completion_tokens=600).http_status == 200
    assert provider.use("TPM").used == 600  # not the 10 that came
    assert provider.call(chat, max_completion_tokens=401, max_tokens=None).http_status == 429
    row = provider.call(chat, max_tokens=1)
    assert row.http_status == 200
    assert provider.use("TPM").used == 600 + row.input_tokens
    responses = {"input": "hi", "messages": None, "max_tokens": None, "max_output_tokens": 300}
    assert provider.call("/v1/responses", **responses).http_status == 200
    assert provider.use("TPM").used == 900 + row.input_tokens


def test_anthropic_input_is_corrected_and_cached_input_is_free() -> None:
    cached = Usage(input=1000, output=5, cache_read=700, cache_write=200)
    provider = Provider("itpm=1000 kind=window", lambda call: Reply("x", usage=cached))
    row = provider.call()
    assert provider.use("ITPM").used == 300
    assert (row.billed_input, row.cache_read, row.cache_write) == (1000, 700, 200)
    total = provider.simulation.accounting().total
    assert (total.input, total.cache_read, total.cache_write, total.output) == (1000, 700, 200, 5)
    counted = [Quota((Limit("input", 1000, cached=True),))]
    provider = Provider(counted, lambda call: Reply("x", usage=cached))
    provider.call()
    assert provider.use("ITPM").used == 1000


def slow(call: object) -> Reply:
    return Reply("x" * 400, chunk=40, rate=10.0)  # 100 tokens in 10 seconds, 10 pieces


@pytest.mark.parametrize("stream", [True, False])
def test_output_is_charged_as_it_is_produced(stream: bool) -> None:
    provider = Provider("otpm=100 kind=window", slow)
    call = provider.begin(stream=stream, max_tokens=1_000_000)  # nothing is reserved
    call.until(5.0)
    assert provider.use("OTPM").used == 40  # the fifth second's are not there yet
    assert provider.call().http_status == 200  # there is room for a call; it may overshoot
    meter = provider.use("OTPM")
    assert meter.largest == 140
    assert provider.call().http_status == 429
    call.finish()
    assert provider.use("OTPM").used == 200
    assert provider.simulation.accounting().total.output == 200


def test_output_can_be_reserved_instead() -> None:
    quota = Quota((Limit("output", 250, kind="window", charged="admission"),))
    provider = Provider([quota], slow)
    first = provider.begin(max_tokens=200)
    assert provider.call(max_tokens=200).http_status == 429
    first.finish()
    assert provider.use("OTPM").used == 100
    assert provider.call(max_tokens=150).http_status == 200


def test_concurrent_calls() -> None:
    provider = Provider("concurrent=2", slow)
    first, second = provider.begin(), provider.begin()
    assert provider.call().limited == "concurrent"
    first.leave()
    third = provider.begin()
    assert provider.call().limited == "concurrent"
    second.finish()
    third.finish()
    assert provider.call().http_status == 200
    meter = provider.use("concurrent")
    assert (meter.largest, meter.used, meter.limited) == (2, 0, 2)


def test_all_or_nothing() -> None:
    provider = Provider("rpm=10 tpm=150 kind=window failed=no")
    assert [provider.call().http_status for _ in range(3)] == [200, 429, 429]
    assert provider.use("RPM").used == 1
    assert provider.use("TPM").limited == 2


def test_a_day() -> None:
    provider = Provider("rpd=2 rpm=2")
    assert [provider.call().http_status for _ in range(2)] == [200, 200]
    provider.now += 3600
    assert provider.call().limited == "RPD"
    provider.now += 23 * 3600
    assert provider.call().http_status == 200


def test_pools_by_key_and_for_models() -> None:
    limit = (Limit("requests", 1, kind="window"),)
    provider = Provider([
        Quota(limit, "opus", models=("opus-*",), by=("key",)), Quota(limit, "east", target="east"),
    ])  # fmt: skip
    assert provider.call(model="opus-1", key="a").http_status == 200
    assert provider.call(model="opus-2", key="a").limited == "RPM"
    assert provider.call(model="opus-2", key="b").http_status == 200
    assert provider.call(model="haiku", key="a").http_status == 200
    assert provider.call(model="haiku", target="east").http_status == 200
    assert provider.call(model="haiku", target="east").http_status == 429
    books = provider.simulation.accounting()
    assert [(m.quota, m.scope) for m in books.meters] == [
        ("opus", {"key": "a"}), ("opus", {"key": "b"}), ("east", {}),
    ]  # fmt: skip
    assert {key: tally.requests for key, tally in books.by_key.items()} == {"a": 3, "b": 1, "k": 2}
    assert set(books.by_target) == {"", "east"}
    assert books.by_model["opus-2"] == Tally(
        2, answered=1, limited=1, input=books.by_model["opus-2"].input, output=10
    )


def test_use_and_utilisation_of_an_interval() -> None:
    provider = Provider("rpm=10 kind=window")
    for _ in range(12):
        provider.call()
        provider.now += 10
    meter = provider.use("RPM", since=START + 55)
    assert (meter.used, meter.largest) == (6, 6)
    assert meter.utilisation == pytest.approx(6 / (10 * 65 / 60))
    assert [m.tally.requests for m in provider.simulation.accounting().minutes] == [6, 6]


def test_a_meter_that_forgets_remembers_its_largest_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turnstile, "LOGGED", 10)
    provider = Provider("rpm=100 kind=window")
    for calls in (9, 3, 3, 3, 9, 3, 3):
        for _ in range(calls):
            provider.call()
        provider.now += 50
    meter = provider.use("RPM")
    assert (meter.largest, meter.largest_at) == (12, START + 50)
    assert meter.used < 33


def test_what_a_broken_stream_is_billed() -> None:
    faults = [
        Fault("break", Match(nth=1), after_chunks=6), Fault("error", Match(nth=2), after_chunks=4),
        Fault("break", Match(nth=3)), Fault("hang", Match(nth=4)),
    ]  # fmt: skip
    provider = Provider("rpm=100", slow, faults)
    broken = provider.call(stream=True)  # start, ping, block start, three words
    assert (broken.status, broken.billed_output) == ("broken", 30)
    assert broken.billed_input == broken.input_tokens > 0
    spoilt = provider.call(stream=True)
    assert (spoilt.status, spoilt.billed_output) == ("broken", 10)
    whole = provider.call()
    assert (whole.status, whole.billed_output) == ("broken", 100)
    silent = provider.begin()
    silent.until(1.0)
    assert silent.leave().billed_input == 0
    left = provider.begin(stream=True)
    left.until(provider.now - START + 4.5)
    assert left.leave().billed_output == 40
    total = provider.simulation.accounting().total
    assert (total.output, total.broken, total.aborted) == (180, 3, 2)
    assert total.input == sum(row.billed_input for row in provider.simulation.calls())


def test_what_is_refused_costs_nothing() -> None:
    faults = [Fault("529", Match(nth=1)), Fault("429", Match(nth=2)), Fault("error", Match(nth=3))]
    provider = Provider("rpm=100", faults=faults)
    for _ in range(3):
        provider.call()
    assert provider.simulation.accounting().total == Tally(3, refused=2, limited=1)
    assert provider.use("RPM").used == 0


def test_tokens_of_other_counts_come_in_proportion() -> None:
    usage = Usage(input=7, output=1000)
    provider = Provider("otpm=1000", lambda call: Reply("x" * 100, chunk=25, usage=usage))
    provider.simulation.set_faults([Fault("break", after_chunks=3)])
    assert provider.call("/v1/chat/completions", stream=True).billed_output == 500


def test_reset_and_new_limits_begin_anew() -> None:
    provider = Provider("rpm=1")
    old = provider.begin()
    assert provider.call().http_status == 429
    provider.simulation.reset()
    old.finish()
    assert provider.simulation.accounting().total == Tally()
    assert provider.call().http_status == 200
    provider.simulation.set_limits(read_quotas("rpm=2"))
    assert [provider.call().http_status for _ in range(3)] == [200, 200, 429]


def test_a_long_key_is_named_by_its_ends() -> None:
    secret = "sk-ant-api03-" + "s" * 80 + "9876"
    provider = Provider([Quota((Limit("requests", 1),), key=secret)])
    provider.simulation.set_faults([Fault("500", Match(nth=3, key=secret))])
    assert provider.call(key=secret).http_status == 200
    assert provider.call(key=secret).http_status == 429
    assert provider.call(key=secret).http_status == 500
    books = provider.simulation.accounting()
    assert secret not in json.dumps(books.to_dict())
    assert list(books.by_key) == ["sk-ant-a…9876"]


def test_headers_of_anthropic() -> None:
    provider = Provider("rpm=60 itpm=30000 otpm=8000")
    headers = provider.begin().headers
    assert headers["anthropic-ratelimit-requests-limit"] == "60"
    assert headers["anthropic-ratelimit-requests-remaining"] == "59"
    assert headers["anthropic-ratelimit-requests-reset"] == "2027-01-15T08:00:01Z"
    assert headers["anthropic-ratelimit-input-tokens-remaining"] == "30000"  # in thousands
    assert headers["anthropic-ratelimit-output-tokens-limit"] == "8000"


def test_headers_of_openai() -> None:
    provider = Provider("rpm=60 tpm=30000")
    headers = provider.begin("/v1/chat/completions", max_tokens=15_000).headers
    assert headers["x-ratelimit-limit-requests"] == "60"
    assert headers["x-ratelimit-remaining-requests"] == "59"
    assert headers["x-ratelimit-reset-requests"] == "1s"
    assert headers["x-ratelimit-remaining-tokens"] == "15000"
    assert headers["x-ratelimit-reset-tokens"] == "30s"
    refused = provider.begin("/v1/chat/completions", max_tokens=16_000)
    assert refused.headers["retry-after"] == "2"
    assert refused.headers["retry-after-ms"] == "2000"
    too_large = provider.begin("/v1/chat/completions", max_tokens=31_000)
    assert b"Request too large for m" in too_large.delivery.parts[0]
    assert "retry-after" not in too_large.headers
