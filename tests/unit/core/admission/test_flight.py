"""What calls in flight still make, and when another may start beside them."""

from __future__ import annotations

import pytest

from perdure.core.admission.demand import Admitted, Demand, Later
from perdure.core.admission.flight import Hand, residual
from perdure.core.admission.limits import Limit, Pool, What
from tests.unit.core.admission.place import NOW, Place

POOL = Pool("p", (Limit(What.OUTPUT, 6000, charged="produced"),))


def call(name: str, expected: float, deviation: float = 0.0) -> Demand:
    return Demand(name, ("p",), ceiling=6000, expected=expected, variance=deviation**2, rate=100)


@pytest.mark.parametrize(
    ("deviation", "made", "left"),
    [(0, 30, 70), (100, 30, 100), (100 / 3**0.5, 30, 100), (300, 30, 100 + 30 * 4 / 5)],
)
def test_the_mean_of_what_is_left(deviation: float, made: float, left: float) -> None:
    """Equal, exponential, uniform (taken for exponential) and heavy-tailed lengths of mean 100."""
    assert residual(100, deviation**2, made, 10_000)[0] == pytest.approx(left, rel=0.01)


def test_no_more_is_left_than_the_ceiling_allows() -> None:
    assert residual(100, 300**2, 90, 100) == (10, 0)
    assert residual(100, 0, 200, 1000) == (0, 0)


def test_expected_output_holds_room() -> None:
    place = Place(POOL)
    for n in range(5):
        place.goes(call(f"c{n}", 1000))
    later = place.waits(call("x", 2000))
    # All of it is made within a minute: nothing leaves before.
    assert later.at - NOW > 40


def test_what_left_by_then_makes_room_for_what_is_made_by_then() -> None:
    place = Place(POOL)
    first = call("a", 5500)
    place.goes(first)
    place.hand("w").saw("a", 5000)
    place.beat(1)
    place.hand("w").end("a", 5000)
    place.beat(1.2)
    # 5000 of 6000 are used, and leave at 61: a call of 2000 makes 1000 until ten seconds later.
    place.waits(call("b", 2000), at=45)
    place.goes(call("b", 2000), at=51.8)


def test_a_waiter_is_told_a_time_when_it_fits() -> None:
    place = Place(POOL)
    place.goes(call("a", 5500))
    place.hand("w").saw("a", 5500)
    place.beat(1)
    place.hand("w").end("a", 5500)
    place.beat(1.2)
    asked, at = 0, 2.0
    while isinstance(answer := place.one(call("b", 2000), at), Later):
        asked, at = asked + 1, answer.at - NOW
    assert asked == 1


def test_deviations_hold_room_too() -> None:
    place = Place(POOL)
    place.goes(call("a", 1000, 1000))
    later = place.one(call("b", 1000, 1000))
    assert isinstance(later, Later)  # 2000 are expected, and 3 * 1414 more may come


def test_one_that_is_larger_than_the_limit_goes_alone() -> None:
    place = Place(POOL)
    assert isinstance(place.one(call("a", 5000, 5000)), Admitted)


def test_totals_add_up_and_end_at_nothing() -> None:
    hand = Hand("w")
    calls = [call(f"c{n}", 100 * n + 1, 10 * n) for n in range(10)]
    for demand in calls:
        hand.start(demand, Admitted(NOW, 0.5, {}))
    hand.saw("c3", 40)
    hand.look(NOW + 2)
    total = hand.totals["p"]
    assert total.calls == 10
    assert total.made == sum(flight.booked for flight in hand.flights.values()) == 40 + 9 * 100
    hand.end("c0", 5)
    hand.end("c0", 5)  # twice is once
    for demand in calls[1:]:
        hand.end(demand.id, 7)
    assert (total.calls, total.made) == (0, 5 + 9 * 7)
    assert total.remaining + total.variance + total.rate < 1e-6
