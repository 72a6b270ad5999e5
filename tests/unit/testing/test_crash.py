"""Arming crash points."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from perdure.core import crash as points
from perdure.core.crash import Point, reach
from perdure.errors import ConfigError
from perdure.testing.crash import Armed, arm, disarm, parse


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    disarm()


def test_the_default_is_the_first_time_and_sigkill() -> None:
    assert parse("after_commit") == [Armed(Point.AFTER_COMMIT, 1, signal.SIGKILL)]


def test_several_points_with_counts_and_signals() -> None:
    assert parse("after_commit:3, before_settle:1:SIGTERM ,mid_stream::SIGSTOP,") == [
        Armed(Point.AFTER_COMMIT, 3, signal.SIGKILL),
        Armed(Point.BEFORE_SETTLE, 1, signal.SIGTERM),
        Armed(Point.MID_STREAM, 1, signal.SIGSTOP),
    ]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("after_lunch", "no crash point 'after_lunch'"),
        ("after_commit:0", "no count"),
        ("after_commit:x", "no count"),
        ("after_commit:1:SIGNONE", "no signal 'SIGNONE'"),
    ],
)
def test_what_is_not_there_is_an_error(spec: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        arm(spec)
    if spec == "after_lunch":
        assert caught.value.hint is not None
        assert all(point in caught.value.hint for point in Point)
    assert points.hook is None


def test_the_signal_comes_at_the_nth_visit_and_only_then() -> None:
    sent: list[tuple[int, int]] = []
    arm("after_commit:2:SIGTERM", kill=lambda pid, number: sent.append((pid, number)))
    reach(Point.AFTER_COMMIT)
    reach(Point.BEFORE_COMMIT)
    assert sent == []
    reach(Point.AFTER_COMMIT)
    reach(Point.AFTER_COMMIT)
    assert sent == [(os.getpid(), signal.SIGTERM)]


def test_one_point_may_be_armed_twice() -> None:
    sent: list[int] = []
    arm("after_claim:1:SIGUSR1,after_claim:3:SIGUSR2", kill=lambda pid, number: sent.append(number))
    for _ in range(4):
        reach(Point.AFTER_CLAIM)
    assert sent == [signal.SIGUSR1, signal.SIGUSR2]


def test_an_empty_spec_arms_nothing() -> None:
    assert arm("") == []
    assert points.hook is None
