"""Windows, buckets and belief of one limit."""

from __future__ import annotations

import pytest

from perdure.core.admission.limits import Limit, Pool, What
from perdure.core.admission.meter import Meter, empty
from perdure.errors import ConfigError
from tests.unit.core.admission.place import NOW

LIMIT = Limit(What.INPUT, 1000)


def test_a_window_lets_go_part_by_part() -> None:
    meter = empty(LIMIT, NOW)
    for second in range(20):
        meter.tend(LIMIT, NOW + second)
        meter.book(LIMIT, 50, NOW + second)
    now = NOW + 20
    meter.tend(LIMIT, now)
    assert meter.room(LIMIT, now, now) == 0
    at = meter.when(LIMIT, 200, 0, now)
    assert NOW + 64 <= at <= NOW + 65.1
    assert meter.room(LIMIT, at, now) >= 200
    assert meter.when(LIMIT, 200, 300, now) > at
    meter.tend(LIMIT, at)
    assert meter.when(LIMIT, 200, 0, at) == at


def test_more_is_ahead_than_a_window_holds() -> None:
    meter = empty(LIMIT, NOW)
    at = meter.when(LIMIT, 100, 3000, NOW)
    assert at - NOW == pytest.approx(61 + 2100 * 60 / 1000, abs=1.1)


def test_what_was_booked_too_much_goes_from_the_oldest() -> None:
    meter = empty(LIMIT, NOW)
    meter.book(LIMIT, 100, NOW)
    meter.tend(LIMIT, NOW + 10)
    meter.book(LIMIT, 100, NOW + 10)
    meter.book(LIMIT, -150, NOW + 10)
    assert meter.used == 50 == meter.counts[-1]
    meter.book(LIMIT, -150, NOW + 10)
    assert meter.used == 0
    assert min(meter.counts) == 0


def test_a_bucket_gives_back() -> None:
    limit = Limit(What.INPUT, 600, burst=60)
    meter = empty(limit, NOW)
    meter.book(limit, 50, NOW)
    before = meter.tat
    meter.correct(limit, -30, NOW, NOW + 1, unsent=False)
    assert before - meter.tat == pytest.approx(3.0, abs=0.01)
    assert meter.used == 20
    meter.correct(limit, 30, NOW, NOW + 1, unsent=False)
    assert meter.tat == pytest.approx(before, abs=0.01)


def test_what_was_never_sent_leaves_a_bucket_no_emptier_than_it_was_without_it() -> None:
    limit = Limit(What.REQUESTS, 120, burst=12)
    without, meter = empty(limit, NOW), empty(limit, NOW)
    meter.book(limit, 1, NOW)
    for one in (without, meter):
        one.book(limit, 1, NOW + 0.6)  # the bucket was empty in between
    meter.correct(limit, -1, NOW, NOW + 0.6, unsent=True)
    assert meter.used == without.used
    assert meter.tat >= without.tat


def test_what_was_never_sent_leaves_its_bucket_when_its_part_is_over() -> None:
    limit = Limit(What.REQUESTS, 120, burst=12)
    meter = empty(limit, NOW)
    meter.book(limit, 10, NOW)
    meter.tend(limit, NOW + 2)
    meter.correct(limit, -10, NOW, NOW + 2, unsent=True)
    assert meter.used == 0
    assert meter.tat <= NOW + 2


def test_a_provider_gives_back_no_more_than_to_an_empty_bucket() -> None:
    limit = Limit(What.INPUT, 600, burst=60)
    meter = empty(limit, NOW)
    meter.book(limit, 50, NOW)
    meter.correct(limit, -50, NOW, NOW + 4, unsent=False)
    assert meter.tat == pytest.approx(NOW + 4, abs=0.01)


def test_what_a_pacing_bucket_lets_through_fits_the_providers() -> None:
    limit = Limit(What.INPUT, 600, burst=60)
    meter, now, sent = empty(limit, NOW), NOW, []
    for _ in range(200):
        at = meter.when(limit, 17, 0, now)
        now = max(now, at)
        meter.tend(limit, now)
        if meter.when(limit, 17, 0, now) <= now:
            meter.book(limit, 17, now)
            sent.append(now)
    for i in range(len(sent)):
        for j in range(i, len(sent)):
            # As if the first came as late as it may, and the last at once.
            apart = max(0.0, sent[j] - sent[i] - limit.slack)
            assert 17 * (j - i + 1) <= 60 + 10 * apart + 0.1
    assert sent[-1] - sent[0] < 200 * 17 / 10 * 1.05 + 1


def test_belief_comes_back_slowly() -> None:
    meter = Meter(0, 0.0, 0.7, NOW, [0])
    assert meter.believed(NOW) == 0.7
    assert meter.believed(NOW + 120) == pytest.approx(0.8)
    assert meter.believed(NOW + 3600) == 1.0


def test_limits_that_cannot_be_held_are_refused() -> None:
    with pytest.raises(ConfigError):
        Limit(What.INPUT, 0)
    with pytest.raises(ConfigError):
        Limit(What.REQUESTS, 10, charged="produced")
    with pytest.raises(ConfigError):
        Pool("p", (LIMIT, Limit(What.INPUT, 5)))
