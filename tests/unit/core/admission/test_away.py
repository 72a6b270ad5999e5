"""Calls that are sent away come back one after another, not all at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, pairwise

import pytest

from perdure.core.admission.away import CLASSES, LONGEST_S, SHARE
from perdure.core.admission.demand import Admitted, Demand
from perdure.core.admission.limits import Limit, Pool, What
from perdure.core.admission.state import decode
from perdure.errors import CodecError
from tests.unit.core.admission.place import NOW, Place

PATIENCE = 1.0
POOL = Pool("p", (Limit(What.REQUESTS, 60),))  # one a second


def calls(**more: object) -> Iterator[Demand]:
    for number in count():
        yield replace(Demand(f"{number:x}", ("p",), patience=PATIENCE), **more)  # type: ignore[arg-type]


@pytest.fixture
def full() -> Place:
    """All is used, just now."""
    place = Place(POOL)
    for _, call in zip(range(60), calls(id="x"), strict=False):
        place.goes(replace(call, patience=60.0))
    return place


def sent_away(place: Place, demands: Iterator[Demand], number: int, at: float = 1.0) -> list[float]:
    """When so many come back, in seconds after NOW."""
    found = [place.waits(next(demands), at) for _ in range(number)]
    return [later.at - NOW for later in found]


def test_they_come_back_at_the_pace_of_the_limit(full: Place) -> None:
    times = sent_away(full, calls(), 100)
    assert times[0] == pytest.approx(61, abs=1.1)  # when there is room
    gaps = [b - a for a, b in pairwise(times)]
    assert gaps == pytest.approx([SHARE] * 99, abs=0.01)


def test_who_waits_in_place_is_told_when_there_is_room(full: Place) -> None:
    sent_away(full, calls(), 100)
    later = full.waits(Demand("patient", ("p",), patience=61.0), 1.0)
    assert later.at - NOW == pytest.approx(61, abs=1.1)


def test_who_came_back_in_vain_is_not_put_behind_all_that_are_new(full: Place) -> None:
    first = full.waits(next(calls()), 1.0)
    sent_away(full, calls(), 100)
    again = sent_away(full, calls(since=first.since), 3, at=2.0)
    assert again == pytest.approx([again[0], again[0] + SHARE, again[0] + 2 * SHARE], abs=0.01)
    assert again[0] < 63


def test_nobody_is_behind_a_crowd_of_less_priority(full: Place) -> None:
    sent_away(full, calls(), 100)
    assert sent_away(full, calls(priority=1), 1)[0] < 63


def test_tenants_have_turns_of_their_own_and_share_the_limit(full: Place) -> None:
    sent_away(full, calls(tenant="crowd"), 100)
    first, second = sent_away(full, calls(tenant="other"), 2)
    assert first < 63
    assert second - first == pytest.approx(2 * SHARE, abs=0.01)


def test_a_larger_call_takes_longer() -> None:
    place = Place(Pool("p", (Limit(What.INPUT, 6000),)))
    place.goes(Demand("x", ("p",), input=6000))
    first, second = sent_away(place, calls(input=500), 2)
    assert second - first == pytest.approx(5 * SHARE, abs=0.01)


def test_places_come_as_fast_as_calls_end() -> None:
    place = Place(Pool("p", (Limit(What.CONCURRENT, 4),)))
    for number in range(4):
        place.goes(Demand(f"x{number}", ("p",)))
    first, second = sent_away(place, calls(patience=0.0), 2)
    assert second - first == pytest.approx(2.0 / 4 * SHARE, abs=0.01)


def test_nobody_is_sent_away_for_longer_than_that(full: Place) -> None:
    times = sent_away(full, calls(), 600)
    assert max(times) <= 1 + LONGEST_S + 0.01


def test_turns_are_forgotten_once_they_are_over_and_classes_are_few(full: Place) -> None:
    for number in range(CLASSES + 9):
        sent_away(full, calls(tenant=f"t{number}"), 1)
    assert len(full.states()["p"].away.until) == CLASSES
    for _, call in zip(range(60), calls(), strict=False):
        full.goes(call, at=2 * LONGEST_S)
    sent_away(full, calls(), 1, at=2 * LONGEST_S)
    assert len(full.states()["p"].away.until) == 1


@pytest.mark.parametrize("turns", [{"x/": [1, 2]}, {"0/": [1]}, {"0/": ["a", 1]}, {"0/": 3}, [4]])
def test_nonsense_is_no_document(turns: object) -> None:
    state = Place(POOL).states()["p"]
    with pytest.raises(CodecError):
        decode({**state.encode(), "a": turns}, POOL)


def test_a_backlog_uses_all_there_is_and_comes_back_rarely() -> None:
    """500 runs at once, for a minute's room of 60: without turns they asked twice as often."""
    place = Place(POOL)
    asleep = [(0.0, call) for _, call in zip(range(500), calls(), strict=False)]
    awake: list[Demand] = []
    asked, went, now = 0, [], 0.0
    while now < 300:
        awake += [call for at, call in asleep if at <= now]
        asked += sum(at <= now for at, _ in asleep)
        asleep = [(at, call) for at, call in asleep if at > now]
        kept = awake[16:]
        for call, answer in zip(awake[:16], place.ask(*awake[:16], at=now), strict=True):
            if isinstance(answer, Admitted):
                went.append(now)
                place.end(call, answer, None, now)
            elif answer.at - NOW - now > PATIENCE:
                asleep.append((answer.at - NOW, replace(call, since=answer.since)))
            else:
                kept.append(replace(call, since=answer.since))
        awake = sorted(kept, key=lambda call: call.since or now)
        now = round(now + 0.1, 1)
    assert len(went) >= 0.97 * 300
    assert asked <= 1300, asked
