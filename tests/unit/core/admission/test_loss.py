"""A lost document is made anew of what a worker still knows."""

from __future__ import annotations

import json

import pytest

from perdure.core.admission.admit import admit
from perdure.core.admission.demand import Admitted, Demand, Later
from perdure.core.admission.flight import Hand
from perdure.core.admission.limits import Limit, Pool, What
from perdure.core.admission.loss import recall, remade
from perdure.core.admission.state import State, decode, fresh

NOW = 1_000_000.0
REQUESTS = Pool("p", (Limit(What.REQUESTS, 60),))


def copied(state: State) -> State:
    return decode(json.loads(json.dumps(state.encode())), state.pool)


def take(state: State, count: int, now: float, *, first: int = 0, worker: str = "w") -> int:
    """How many of ``count`` calls got room."""
    demands = [Demand(f"{first + n:x}", (state.pool.key,), input=1) for n in range(count)]
    answers = admit({state.pool.key: state}, Hand(worker), demands, now)
    return sum(isinstance(answer, Admitted) for answer in answers)


def test_what_was_used_in_a_burst_is_not_given_out_again_before_its_time() -> None:
    state = fresh(REQUESTS, NOW)
    assert take(state, 60, NOW) == 60
    again = remade(REQUESTS, copied(state), NOW + 3)
    # As if evenly used, room would come each second.
    assert take(again, 10, NOW + 30, first=100) == 0
    assert take(again, 60, NOW + 63, first=200) == 60


def test_what_others_may_have_taken_meanwhile_counts_as_used() -> None:
    state = fresh(REQUESTS, NOW)
    take(state, 20, NOW)
    again = remade(REQUESTS, copied(state), NOW + 10)
    assert take(again, 1, NOW + 11, first=100) == 0
    assert take(again, 60, NOW + 63, first=200) == 20
    assert take(again, 60, NOW + 73, first=300) == 40


def test_a_document_that_somebody_without_knowledge_made_is_put_right() -> None:
    state = fresh(REQUESTS, NOW)
    take(state, 60, NOW)
    other = fresh(REQUESTS, NOW + 3, full=True)
    recall(other, copied(state), NOW + 4)
    assert take(other, 10, NOW + 30, first=100) == 0
    assert take(other, 1, NOW + 66, first=200) == 1


def test_a_small_bucket_counts_as_full() -> None:
    pool = Pool("p", (Limit(What.REQUESTS, 60, burst=6.0),))
    state = fresh(pool, NOW)
    again = remade(pool, copied(state), NOW + 120)
    [answer] = admit({"p": again}, Hand("w"), [Demand("1", ("p",))], NOW + 120)
    assert isinstance(answer, Later)


def test_places_are_free_once_workers_have_told_what_they_have() -> None:
    pool = Pool("p", (Limit(What.CONCURRENT, 4),))
    state = fresh(pool, NOW)
    assert take(state, 1, NOW) == 1
    again = remade(pool, copied(state), NOW + 1)
    assert take(again, 1, NOW + 2, first=9, worker="v") == 0
    assert take(again, 4, NOW + 7, first=20, worker="v") == 4


@pytest.mark.parametrize("field", ["hold", "given", "workers"])
def test_what_else_was_known_is_kept(field: str) -> None:
    state = fresh(REQUESTS, NOW)
    take(state, 3, NOW)
    state.hold = NOW + 9
    again = remade(REQUESTS, copied(state), NOW + 1)
    assert getattr(again, field) == getattr(state, field)
