"""Refusals and headers lower what is believed, and nothing raises it but time."""

from __future__ import annotations

import pytest

from perdure.core.admission.demand import Demand
from perdure.core.admission.learn import heard, refused
from perdure.core.admission.limits import Limit, Pool, What
from perdure.core.admission.state import State
from tests.unit.core.admission.place import NOW, Place

POOL = Pool(
    "p",
    (Limit(What.REQUESTS, 100), Limit(What.INPUT, 1000), Limit(What.INPUT, 9000, per=86400)),
)
CALL = Demand("a", ("p",), input=100)


def change(place: Place) -> State:
    return place.states()["p"]


def test_a_refusal_lowers_the_fullest_limit_and_holds() -> None:
    place = Place(POOL)
    place.goes(CALL)
    state = change(place)
    assert refused(state, NOW + 1, admitted=NOW, retry_after_s=7)
    place.write({"p": state})
    assert [meter.level for meter in state.meters] == [1.0, 0.7, 1.0]
    later = place.waits(CALL, at=2)
    assert (later.at, later.bound) == (NOW + 8, ("p", "hold"))
    place.goes(CALL, at=8)
    # 700 are believed, 200 used: what is more waits.
    place.waits(Demand("b", ("p",), input=600), at=9)


def test_calls_under_way_lower_it_only_once() -> None:
    state = change(Place(POOL))
    assert refused(state, NOW + 5, admitted=NOW, what=What.REQUESTS)
    assert not refused(state, NOW + 6, admitted=NOW + 1, what=What.REQUESTS)
    assert state.meters[0].level == 0.7
    assert refused(state, NOW + 9, admitted=NOW + 8, what=What.REQUESTS)
    assert state.meters[0].level == pytest.approx(0.49, abs=0.01)
    for second in range(10, 60):
        refused(state, NOW + second, admitted=NOW + second, what=What.REQUESTS)
    assert state.meters[0].level == 0.1


def test_a_header_may_only_lower() -> None:
    state = change(Place(POOL))
    state.meters[1].book(POOL.limits[1], 300, NOW)
    assert not heard(state, What.INPUT, 900, NOW)
    assert not heard(state, What.INPUT, 700, NOW)
    assert state.meters[1].used == 300
    assert heard(state, What.INPUT, 200, NOW)
    assert state.meters[1].used == 800
    assert not heard(state, What.INPUT, 200, NOW)
    assert not heard(state, What.INPUT, 0, NOW, rounded=1000)
    assert not heard(state, What.OUTPUT, 0, NOW)
    state.tend(NOW + 62.1)
    assert state.meters[1].used == 0


def test_a_header_of_a_small_bucket_lowers_the_bucket() -> None:
    limit = Limit(What.INPUT, 600, burst=60)
    place = Place(Pool("p", (limit,)))
    state = change(place)
    assert heard(state, What.INPUT, 10, NOW)
    assert not heard(state, What.INPUT, 40, NOW)
    assert state.meters[0].used == 0
    place.write({"p": state})
    later = place.waits(Demand("a", ("p",), input=30))
    assert 2 <= later.at - NOW <= 3


def test_a_header_is_as_old_as_its_call() -> None:
    state = change(Place(Pool("p", (Limit(What.INPUT, 6000),))))
    # It told 5,800 at its beginning 3 s ago; 300 may have come free since.
    assert not heard(state, What.INPUT, 5800, NOW, admitted=NOW - 3)
    assert heard(state, What.INPUT, 5600, NOW, admitted=NOW - 3)
    assert state.meters[0].used == 100
