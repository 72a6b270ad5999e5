"""What a worker knows of the keeper's clock."""

from __future__ import annotations

import pytest

from perdure.gateway.clock import Clock


class Mine:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def mine() -> Mine:
    return Mine()


@pytest.fixture
def clock(mine: Mine) -> Clock:
    return Clock(mine)


def test_nothing_is_known_before_the_first_answer(clock: Clock) -> None:
    assert clock.earliest() is None
    assert clock.latest() is None


def test_it_lies_between_question_and_answer(clock: Clock, mine: Mine) -> None:
    clock.heard(1000.0, 100.0, 100.5)
    mine.time = 100.5
    assert clock.earliest() == pytest.approx(1000.0)
    assert clock.latest() == pytest.approx(1000.5)


def test_an_answer_that_is_read_late_does_no_harm(clock: Clock, mine: Mine) -> None:
    clock.heard(1000.0, 100.0, 100.002)
    clock.heard(1001.0, 101.0, 101.9)  # the loop was busy for 0.9 s
    mine.time = 101.9
    earliest, latest = clock.earliest(), clock.latest()
    assert earliest is not None
    assert latest is not None
    assert earliest == pytest.approx(1001.898, abs=1e-3)
    assert latest == pytest.approx(1001.9, abs=1e-3)
    assert earliest <= 1001.9 <= latest


def test_bounds_of_several_answers_hold_together(clock: Clock, mine: Mine) -> None:
    clock.heard(1000.0, 99.9, 100.0)  # at once back
    clock.heard(1000.1, 100.1, 100.2)  # at once there
    mine.time = 100.2
    assert clock.earliest() == pytest.approx(1000.2, abs=1e-3)
    assert clock.latest() == pytest.approx(1000.2, abs=1e-3)


@pytest.mark.parametrize("jump", [-3600.0, -0.5, 0.5, 3600.0])
def test_another_clock_is_believed_at_once(clock: Clock, mine: Mine, jump: float) -> None:
    clock.heard(1000.0, 100.0, 100.001)
    clock.heard(1001.0 + jump, 101.0, 101.1)
    mine.time = 101.1
    assert clock.earliest() == pytest.approx(1001.0 + jump)
    assert clock.latest() == pytest.approx(1001.1 + jump)


def test_clocks_that_run_at_other_speeds_are_allowed_for(clock: Clock, mine: Mine) -> None:
    clock.heard(1000.0, 100.0, 100.0)
    mine.time = 1100.0
    earliest, latest = clock.earliest(), clock.latest()
    assert earliest is not None
    assert latest is not None
    assert earliest < 2000.0 < latest
    assert latest - earliest < 1
