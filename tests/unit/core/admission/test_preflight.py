"""Whole runs: what they will take is held before they start."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from perdure.core.admission.limits import Limit, Pool, What
from perdure.core.admission.preflight import (
    Go,
    Holds,
    NoRoom,
    Past,
    Plan,
    Purse,
    decode_past,
    hold,
    preflight,
)  # fmt: skip
from perdure.errors import CodecError
from tests.unit.core.admission.place import NOW, Place

POOL = Pool("p", (Limit(What.TOKENS, 10_000, per=86400), Limit(What.INPUT, 6000)))
PLAN = Plan(calls=10, input=3000, output=1000, cost=5_000_000, seconds=60)


def ask(place: Place, holds: Holds, plan: Plan, at: float, run: str = "r") -> Go | NoRoom:
    states = place.states()
    answer = preflight(states, holds, plan, None, NOW + at)
    place.write(states)
    if isinstance(answer, Go):
        holds.start(run, plan, NOW + at)
    return answer


def test_the_days_tokens_are_held_in_full() -> None:
    place, one, two = Place(POOL), Holds("one"), Holds("two")
    assert isinstance(ask(place, one, PLAN, 0), Go)
    assert isinstance(ask(place, two, PLAN, 1), Go)
    answer = ask(place, one, PLAN, 200, "r2")
    # The other worker is silent: what it held is forgotten.
    assert isinstance(answer, Go)
    answer = ask(place, one, PLAN, 201, "r3")
    assert isinstance(answer, NoRoom)
    assert answer.bound == ("p", "tokens/86400")
    assert answer.at is not None
    assert answer.at > NOW + 86400


def test_what_a_run_spent_is_held_no_more() -> None:
    place, holds = Place(POOL), Holds("w")
    ask(place, holds, PLAN, 0)
    holds.spent("r", replace(PLAN, input=3000, output=900))
    states = place.states()
    hold(states, holds, NOW + 1)
    assert states["p"].holds["w"][1] == 100
    holds.end("r")
    hold(states, holds, NOW + 2)
    assert states["p"].holds == {}


def test_the_minutes_share_fades_and_the_time_is_told() -> None:
    place, holds = Place(Pool("p", (Limit(What.INPUT, 6000),))), Holds("w")
    assert isinstance(ask(place, holds, PLAN, 0, "r1"), Go)
    assert isinstance(ask(place, holds, PLAN, 0.1, "r2"), Go)
    answer = ask(place, holds, PLAN, 1, "r3")
    assert isinstance(answer, NoRoom)
    assert answer.at is not None
    assert 5 < answer.at - NOW < 60
    tries = 0
    while isinstance(answer, NoRoom):
        tries, at = tries + 1, answer.at
        assert at is not None
        answer = ask(place, holds, PLAN, at - NOW, "r3")
    assert tries <= 2


def test_money_that_is_not_there() -> None:
    states, holds = Place(POOL).states(), Holds("w")
    assert preflight(states, holds, PLAN, Purse(4_999_999, NOW + 9), NOW) == NoRoom(
        NOW + 9, ("", "money")
    )
    assert isinstance(preflight(states, holds, PLAN, Purse(5_000_000), NOW), Go)


def test_a_plan_is_the_95th_percentile_within_the_ceiling() -> None:
    past, ceiling = Past(), Plan(100, 50_000, 9000, 10**9, 600)
    for n in range(1, 20):
        past.learn(Plan(n, n * 100, n * 10, n * 1000, n))
    assert past.plan(ceiling) == ceiling
    for n in range(20, 101):
        past.learn(Plan(n, n * 1000, n * 10, n * 1000, n))
    plan = decode_past(json.loads(json.dumps(past.encode()))).plan(ceiling)
    assert 95 <= plan.calls <= 100
    assert plan.input == 50_000
    assert plan.output == pytest.approx(950, rel=0.1)
    assert plan.seconds == pytest.approx(50, rel=0.1)
    twice = decode_past(past.encode())
    twice.merge(past)
    assert twice.calls.n == 200


def test_garbage_is_refused() -> None:
    with pytest.raises(CodecError):
        decode_past({"v": 1, "calls": []})
