"""Admission of calls: room, order, tickets, several pools, and the times that waiting calls get."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perdure.core.admission.demand import Admitted, Demand, Later
from perdure.core.admission.limits import Limit, Pool, What
from tests.unit.core.admission.place import NOW, Place

TOKENS = Pool("p", (Limit(What.REQUESTS, 100), Limit(What.INPUT, 1000)))


def call(name: str, tokens: int = 100, **more: object) -> Demand:
    demand = Demand(name, ("p",), input=tokens)
    return replace(demand, **more)  # type: ignore[arg-type]


def test_a_call_takes_room_and_the_next_waits_until_it_left_the_window() -> None:
    place = Place(TOKENS)
    assert place.goes(call("a", 900)).charges == {"p": (1, 900)}
    later = place.waits(call("b", 200), at=1)
    assert later.bound == ("p", "input/60")
    # Not before the 60 s and the slack of one second are over, and not much later.
    assert 61.0 <= later.at - NOW <= 62.1
    place.waits(call("b", 200, since=later.since), at=60.9)
    place.goes(call("b", 200, since=later.since), at=later.at - NOW)


def test_a_lone_waiter_asks_twice() -> None:
    place = Place(TOKENS)
    for n in range(10):
        place.goes(call(f"c{n}"), at=n)
    later = place.waits(call("x", 300), at=10)
    place.goes(call("x", 300, since=later.since), at=later.at - NOW)


def test_all_limits_or_nothing() -> None:
    place = Place(TOKENS)
    place.goes(call("a", 950))
    place.waits(call("b", 100))
    assert place.used(0) == [1, 950]


def test_several_pools_all_or_nothing() -> None:
    key = Pool("k", (Limit(What.REQUESTS, 1),))
    place = Place(TOKENS, key)
    place.goes(call("a", 100, pools=("p", "k")))
    later = place.waits(call("b", 100, pools=("p", "k")))
    assert later.bound == ("k", "requests/60")
    assert place.used(0) == [1, 100]
    assert place.used(0, "k") == [1]


def test_one_that_waits_for_another_pool_does_not_hold_up_the_others() -> None:
    key = Pool("k", (Limit(What.REQUESTS, 1, per=86400),))
    place = Place(TOKENS, key)
    place.goes(call("a", 100, pools=("p", "k")))
    place.waits(call("b", 500, pools=("p", "k")))
    place.goes(call("c", 500), at=0.1, worker="v")


def test_but_they_may_not_take_the_room_it_needs_by_then() -> None:
    key = Pool("k", (Limit(What.REQUESTS, 1),))
    place = Place(TOKENS, key)
    place.goes(call("a", 100, pools=("k",)))
    place.waits(call("b", 800, pools=("p", "k")), at=50)  # until 62
    later = place.waits(call("c", 500), at=50.1, worker="v")  # would still count at 62
    assert later.at > NOW + 62


def test_nobody_overtakes_a_head() -> None:
    place = Place(TOKENS)
    place.goes(call("a", 900))
    first = place.waits(call("big", 600), at=1)
    small = place.waits(call("small", 50), at=1.1, worker="v")  # 50 are free
    assert small.at >= first.at
    answers = place.ask(call("big", 600, since=first.since), at=first.at - NOW)
    assert isinstance(answers[0], Admitted)
    place.goes(call("small", 50, since=small.since), at=small.at - NOW, worker="v")


def test_a_head_that_does_not_collect_is_passed_by_and_keeps_its_ticket() -> None:
    place = Place(TOKENS)
    place.goes(call("a", 900))
    first = place.waits(call("slow", 900), at=30)
    collected = first.at - NOW
    for second in range(31, 62):  # its worker lives, but it will not ask
        place.beat(second)
    place.waits(call("b", 900), at=collected + 0.2, worker="v")
    place.goes(call("b", 200), at=collected + 0.3, worker="v")
    late = place.waits(call("slow", 900, since=first.since), at=collected + 0.4)
    # Its ticket is older than any other: it is next.
    place.waits(call("c", 100), at=collected + 0.5, worker="v")
    place.goes(call("slow", 900, since=late.since), at=late.at - NOW)


def test_heads_of_a_silent_worker_do_not_count() -> None:
    place = Place(TOKENS)
    place.goes(call("a", 500))
    place.waits(call("big", 600), at=1)
    place.waits(call("b", 450), at=2.9, worker="v")
    place.goes(call("b", 450), at=3.1, worker="v")


def test_priority_goes_first_and_the_ticket_within_it() -> None:
    place = Place(TOKENS)
    place.goes(call("a", 1000))
    low = call("low", 600, since=NOW + 1)
    place.ask(low, at=1)
    answers = place.ask(
        call("high", 600, since=NOW + 2, priority=1), call("mid", 300, since=NOW + 3), at=3,
        worker="v",
    )  # fmt: skip
    ats = [answer.at for answer in answers]
    again = place.ask(low, at=3.1)[0].at
    assert ats[0] < again <= ats[1]


def test_the_oldest_has_its_turn_whatever_its_priority() -> None:
    place = Place(Pool("p", (Limit(What.REQUESTS, 10),)))
    low = call("low", since=NOW - 100, priority=-5)
    at, passed = 55.0, 0
    for n in range(10):
        place.goes(call(f"b{n}"), at=n * 5)
    for n in range(1000):
        # There is always one of a higher priority.
        answers = place.ask(low, call(f"c{n}", priority=5), call(f"d{n}", priority=5), at=at)
        if isinstance(answers[0], Admitted):
            break
        passed += sum(isinstance(answer, Admitted) for answer in answers)
        at = min(answer.at for answer in answers if isinstance(answer, Later)) - NOW
    assert 20 <= passed <= 30


def test_tenants_share() -> None:
    place = Place(TOKENS)
    waiting = [call(f"g{n}", 100, tenant="greedy", since=NOW) for n in range(20)]
    modest = [call(f"m{n}", 100, tenant="modest", since=NOW + 5) for n in range(20)]
    for demand in waiting[:10]:
        place.goes(demand)
    queue = waiting[10:] + modest[:10]
    later = place.ask(*queue, at=6)[0]
    answers = place.ask(*queue, at=later.at - NOW)
    got = [
        demand.tenant
        for demand, answer in zip(queue, answers, strict=True)
        if answer.at <= later.at
    ]
    # Of the ten that have room now: the greedy one had ten already, so the other is served first
    # until it has had as much, less what is forgotten in a minute; then in turn.
    assert len(got) == 10
    assert 6 <= got.count("modest") <= 8


def test_places_are_given_and_freed() -> None:
    place = Place(Pool("p", (Limit(What.CONCURRENT, 2),)))
    first = place.goes(call("a"))
    place.goes(call("b"), worker="v")
    later = place.waits(call("c"), at=1)
    assert later.bound == ("p", "concurrent/60")
    place.beat(1.5, "v")
    place.end(call("a"), first, None, 2)
    place.goes(call("c"), at=2.1)


def test_places_of_a_dead_worker_are_free_after_its_time_only() -> None:
    place = Place(Pool("p", (Limit(What.CONCURRENT, 1),)))
    place.goes(call("a"), worker="dead")
    place.waits(call("b"), at=4.9)
    place.goes(call("b"), at=5.1)


def test_more_than_the_whole_limit_goes_alone() -> None:
    place = Place(TOKENS)
    place.goes(call("a", 10))
    later = place.waits(call("huge", 5000), at=1)
    place.goes(call("huge", 5000, since=later.since), at=later.at - NOW)


def test_a_small_bucket_paces() -> None:
    place = Place(Pool("p", (Limit(What.REQUESTS, 60, burst=1),)))
    place.goes(call("a"))
    later = place.waits(call("b"), at=0.01)
    # One a second, and the 0.25 s by which arrivals may differ.
    assert later.at - NOW == pytest.approx(1.25, abs=0.01)
    place.goes(call("b", since=later.since), at=later.at - NOW)


def test_after_lost_state_work_goes_on_at_the_steady_rate() -> None:
    place = Place(Pool("p", (Limit(What.INPUT, 61_000),)), full=True)
    place.waits(call("a", 1000))
    admitted, at = 0, 0.0
    while at < 30:
        answer = place.one(call(f"c{at}", 1000), at)
        if isinstance(answer, Admitted):
            admitted += 1
            at += 0.001
        else:
            at = answer.at - NOW
    assert 28 <= admitted <= 30


def test_lost_places_are_taken_until_the_living_have_told() -> None:
    place = Place(Pool("p", (Limit(What.CONCURRENT, 3),)), full=True)
    place.waits(call("a"), at=1)
    place.goes(call("a"), at=5.1)


def test_a_clock_that_went_far_back_counts_windows_as_used() -> None:
    place = Place(TOKENS)
    place.goes(call("a", 100))
    later = place.waits(call("b", 500), at=-1000)
    assert later.at < NOW - 900


def test_a_clock_that_lags_a_little_books_at_the_latest_time() -> None:
    place = Place(TOKENS)
    place.goes(call("a", 100), at=2)
    assert place.goes(call("b", 100), at=1.5, worker="v").at == NOW + 2
