"""What is booked becomes what was used, at the second of its charge."""

from __future__ import annotations

from perdure.core.admission.demand import Admitted, Demand, Usage
from perdure.core.admission.limits import Limit, Pool, What
from perdure.core.admission.settle import leave
from tests.unit.core.admission.place import NOW, Place

CALL = Demand("a", ("p",), input=500, ceiling=100, expected=50, variance=100)
POOL = Pool(
    "p",
    (
        Limit(What.REQUESTS, 100),
        Limit(What.INPUT, 1000, refund=True),
        Limit(What.OUTPUT, 1000, charged="produced"),
        Limit(What.TOKENS, 5000, per=86400),
    ),
)


def test_the_excess_is_given_back_where_the_provider_does() -> None:
    place = Place(POOL)
    admitted = place.goes(CALL)
    assert admitted.charges == {"p": (1, 500, 0, 600)}
    place.end(CALL, admitted, Usage(input=100, cache_read=250, cache_write=50, output=70), 3)
    assert place.used(3) == [1, 150, 70, 600]


def test_what_is_missing_is_booked_in_any_case() -> None:
    place = Place(POOL)
    admitted = place.goes(CALL)
    place.end(CALL, admitted, Usage(input=900, output=70), 3)
    assert place.used(3) == [1, 900, 70, 970]


def test_cached_tokens_count_where_they_do() -> None:
    place = Place(Pool("p", (Limit(What.INPUT, 1000, refund=True, cached=True),)))
    admitted = place.goes(CALL)
    place.end(CALL, admitted, Usage(input=100, cache_read=250), 3)
    assert place.used(3) == [350]


def test_a_call_that_was_not_sent_gives_everything_back() -> None:
    place = Place(POOL)
    admitted = place.goes(CALL)
    place.end(CALL, admitted, None, 0.2, sent=False)
    assert place.used(0.2) == [0, 0, 0, 0]
    assert place.states()["p"].calls() == 0


def test_of_an_unknown_end_the_charge_stays() -> None:
    place = Place(POOL)
    admitted = place.goes(CALL)
    place.end(CALL, admitted, None, 3)
    requests, input, output, day = place.used(3)
    assert (requests, input, day) == (1, 500, 600)
    assert output >= 50  # what was expected counts as made


def test_a_correction_leaves_with_its_charge() -> None:
    place = Place(POOL)
    admitted = place.goes(CALL)
    place.end(CALL, admitted, Usage(input=900, output=70), 50)
    assert place.used(62.1)[:2] == [0, 0]
    place = Place(POOL)
    admitted = place.goes(CALL)
    place.end(CALL, admitted, Usage(input=900, output=70), 63)  # it has left already
    assert place.used(63)[:2] == [0, 0]


def test_output_is_booked_as_it_is_made() -> None:
    place = Place(POOL)
    place.goes(CALL)
    place.hand("w").saw("a", 30)
    place.beat(1)
    assert place.used(1)[2] == 30
    place.beat(1.1)  # a beat that is repeated books nothing again
    assert place.used(1.1)[2] == 30


def test_output_that_nobody_watches_is_booked_at_its_rate() -> None:
    place = Place(POOL)
    admitted = place.goes(CALL)
    place.beat(1.5)
    assert place.used(1.5)[2] == 40  # 80 tokens a second, after the first
    place.end(CALL, admitted, Usage(500, output=10), 1.6)
    assert place.used(1.6)[2] == 10


def test_what_a_dead_worker_had_in_flight_counts_as_made() -> None:
    place = Place(POOL)
    place.goes(CALL, worker="dead")
    place.beat(5.1)
    assert place.used(5.1)[2] == 50 + 30  # and three standard deviations


def test_a_worker_that_was_taken_for_dead_goes_on() -> None:
    place = Place(POOL)
    admitted = place.goes(CALL, worker="slow")
    place.beat(6)
    place.end(CALL, admitted, Usage(500, output=70), 7, worker="slow")
    assert place.used(7)[2] >= 70
    assert place.states()["p"].calls() == 0


def test_a_worker_that_ends_in_order_frees_its_places_at_once() -> None:
    place = Place(Pool("p", (Limit(What.CONCURRENT, 1),)))
    place.goes(CALL, worker="ends")
    states = place.states()
    leave(states, "ends", NOW + 1)
    place.write(states)
    assert isinstance(place.one(CALL, 1.1), Admitted)


def test_where_the_larger_of_prompt_and_bound_counts_the_output_is_in_it_already() -> None:
    place = Place(Pool("p", (Limit(What.TOKENS, 5000, counts="max"),)))
    admitted = place.goes(Demand("a", ("p",), input=90, ceiling=100))
    place.end(CALL, admitted, Usage(input=80, output=100), 3)
    assert place.used(3) == [100]
    admitted = place.goes(Demand("a", ("p",), input=90, ceiling=100), at=4)
    place.end(CALL, admitted, Usage(input=120, output=100), 5)
    assert place.used(5) == [220]
