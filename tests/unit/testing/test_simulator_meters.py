"""The meters of the provider simulator, one kind after the other, on a clock of our own."""

from __future__ import annotations

import math
import random

import pytest

from perdure.errors import InvalidInput
from perdure.testing.simulator.quota.limit import KINDS, Limit, Quota, quotas_from, read_quotas
from perdure.testing.simulator.quota.meter import Charge, Gauge, largest


class Till:
    """A gauge that charges what fits, and remembers it."""

    def __init__(self, limit: Limit) -> None:
        self.gauge: Gauge = limit.gauge()
        self.log: list[Charge] = []

    def take(self, amount: float, now: float) -> float:
        wait = self.gauge.wait(amount, now)
        if not wait:
            charge = Charge(now, amount)
            self.gauge.add(charge, now)
            self.log.append(charge)
        return wait


def test_a_window_holds_its_limit_in_any_sixty_seconds() -> None:
    till = Till(Limit("requests", 3, kind="window"))
    assert [till.take(1, at) for at in (0.0, 10.0, 20.0)] == [0, 0, 0]
    assert till.take(1, 30.0) == 30.0
    assert till.take(1, 59.9) == pytest.approx(0.1)
    assert till.take(1, 60.0) == 0  # what was charged at 0 is out
    assert till.take(1, 60.0) == 10.0
    assert till.take(2, 60.0) == 20.0
    assert till.gauge.used(60.0) == 3
    assert till.gauge.full_in(60.0) == 60.0


def test_a_bucket_holds_its_limit_and_is_filled_steadily() -> None:
    till = Till(Limit("tokens", 600, kind="bucket"))
    assert till.take(600, 0.0) == 0
    assert till.take(100, 0.0) == 10.0
    assert till.take(100, 9.0) == 1.0
    assert till.take(100, 10.0) == 0
    assert till.gauge.used(10.0) == 600
    assert till.gauge.full_in(10.0) == 60.0
    # A bucket lets nearly twice its limit through in 60 s; a window does not.
    assert largest(till.log, 60) == (700, 10.0)


def test_a_small_bucket_holds_a_tenth() -> None:
    till = Till(Limit("tokens", 600, kind="small-bucket"))
    assert till.take(60, 0.0) == 0
    assert till.take(10, 0.0) == 1.0
    assert till.take(60, 6.0) == 0
    assert till.take(61, 100.0) == math.inf  # never fits
    one_a_minute = Till(Limit("requests", 1, kind="small-bucket"))
    assert one_a_minute.take(1, 0.0) == 0
    assert one_a_minute.take(1, 30.0) == pytest.approx(30.0)


def test_a_second_holds_its_share() -> None:
    till = Till(Limit("requests", 120, kind="second"))
    assert [till.take(1, at) for at in (0.0, 0.5)] == [0, 0]
    assert till.take(1, 0.75) == 0.25
    assert till.take(1, 1.0) == 0
    assert till.take(1, 1.0) == 0.5
    assert till.take(3, 9.0) == math.inf
    slow = Till(Limit("requests", 30, kind="second"))  # one in two seconds
    assert slow.take(1, 0.0) == 0
    assert slow.take(1, 1.0) == 1.0
    assert slow.take(1, 2.0) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_wait_is_exact(kind: str) -> None:
    """What a meter says is enough, and anything less is not."""
    chance = random.Random(kind)
    till = Till(Limit("tokens", 6000, kind=kind))
    now = 0.0
    for _ in range(500):
        now += chance.expovariate(1.0)
        amount = chance.randint(1, 100)
        wait = till.take(amount, now)
        if wait:
            assert till.gauge.wait(amount, now + wait * 0.99 - 1e-3) > 0
            now += wait + 1e-9
            assert till.take(amount, now) == 0
    bound = {"window": 6000, "bucket": 12000, "small-bucket": 6600, "second": 6100}[kind]
    assert 3000 < largest(till.log, 60)[0] <= bound


def test_slots_are_taken_until_they_are_given_back() -> None:
    gauge = Limit("concurrent", 2).gauge()
    charges = [Charge(0.0, 1), Charge(1.0, 1)]
    for charge in charges:
        assert gauge.wait(1, charge.at) == 0
        gauge.add(charge, charge.at)
    assert gauge.wait(1, 1000.0) > 0
    gauge.correct(charges[0], 0, 1000.0)
    assert gauge.wait(1, 1000.0) == 0
    assert gauge.used(1000.0) == 1


@pytest.mark.parametrize("kind", ["window", "bucket"])
def test_a_correction_counts_at_the_time_of_the_charge(kind: str) -> None:
    gauge = Limit("input", 600, kind=kind).gauge()
    charge = Charge(0.0, 600)
    gauge.add(charge, 0.0)
    assert gauge.wait(200, 1.0) > 0
    gauge.correct(charge, 100, 1.0)
    assert gauge.wait(200, 1.0) == 0
    gauge.correct(charge, 900, 1.0)  # more than fits: a debt
    assert gauge.wait(200, 1.0) > 0
    assert gauge.wait(1, 61.0) == (0 if kind == "window" else pytest.approx(0.0, abs=40))


def test_a_late_correction_changes_a_window_no_more() -> None:
    gauge = Limit("input", 600, kind="window").gauge()
    charge = Charge(0.0, 600)
    gauge.add(charge, 0.0)
    gauge.correct(charge, 100, 70.0)
    assert gauge.used(70.0) == 0
    assert charge.amount == 100


def test_the_largest_use_is_found_between_the_minutes() -> None:
    log = [Charge(at, amount) for at, amount in ((0, 5), (50, 40), (100, 40), (109, 1), (170, 9))]
    assert largest(log, 60) == (81, 109)
    assert largest([Charge(0, 5), Charge(60, 5)], 60) == (5, 0)
    assert largest([], 60) == (0, 0)


def test_words_say_what_json_says() -> None:
    (words,) = read_quotas("rpm=60 tpm=1_000 rpd=9 kind=window by=key models=a-*,b failed=no")
    assert words == Quota(
        (Limit("requests", 60, kind="window"), Limit("tokens", 1000, kind="window"),
         Limit("requests", 9, 86400, "window")),
        models=("a-*", "b"), by=("key",), failed=False,
    )  # fmt: skip
    assert quotas_from([words.to_dict()]) == (words,)
    assert [limit.name for limit in words.limits] == ["RPM", "TPM", "RPD"]
    assert words.fits(target="", key="", model="a-1")
    assert not words.fits(target="", key="", model="b-1")


@pytest.mark.parametrize(
    "given",
    [
        "rpm=many", "rmp=60 rpm=60", "kind=leaky rpm=60", "failed=perhaps rpm=60", "kind=window",
        "by=day rpm=60", "rpm=0", "missing.json", "[1]", "{", '{"limits": 3}',
        '{"limits": [{"what": "wishes", "amount": 1}]}', '{"limits": [{"amount": 1}]}',
        '{"limits": [{"what": "requests", "amount": 1, "charged": "produced"}]}',
        '{"limits": [], "colour": 1}',
    ],
)  # fmt: skip
def test_limits_that_cannot_be(given: str) -> None:
    with pytest.raises(InvalidInput):
        read_quotas(given)
