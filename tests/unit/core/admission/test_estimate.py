"""What calls before teach about the next one."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.admission.estimate import BUCKETS, Digest, Estimates, decode_estimates, digest_of
from perdure.errors import CodecError

values = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=200)


@given(values, st.floats(0.01, 1.0))
def test_a_quantile_is_known_within_a_bucket(numbers: list[float], q: float) -> None:
    digest = Digest()
    for number in numbers:
        digest.add(number)
    exact = sorted(numbers)[max(0, -int(-q * len(numbers) // 1) - 1)]
    assert exact * 0.999 <= digest.quantile(q) <= exact * 1.101


@given(values, values)
def test_merged_is_as_if_added(one: list[float], two: list[float]) -> None:
    first, second, both = Digest(), Digest(), Digest()
    for number in one:
        first.add(number)
    for number in two:
        second.add(number)
    for number in one + two:
        both.add(number)
    if len(second.buckets) <= BUCKETS:
        second = digest_of(json.loads(json.dumps(second.encode())))
    first.merge(second)
    assert first.buckets == both.buckets
    assert first.moments() == pytest.approx(both.moments())


def test_it_forgets_slowly() -> None:
    digest = Digest()
    for _ in range(900):
        digest.add(100)
    for _ in range(50):
        digest.add(1000)
    assert digest.quantile(0.5) < 111
    for _ in range(3000):
        digest.add(1000)
    assert digest.quantile(0.5) > 990
    assert digest.n <= 1000


def test_nothing_is_known_at_first() -> None:
    estimate = Estimates().estimate(1000, 600)
    assert (estimate.input, estimate.expected, estimate.ceiling) == (500, 300, 600)
    assert estimate.variance == 30_000


def test_it_learns_per_agent_and_step_and_falls_back_to_the_model() -> None:
    learned, rng = Estimates(), random.Random(1)
    for _ in range(100):
        learned.learn(4000, 1000, rng.randint(90, 110), agent="a", step="plan", seconds=2)
        learned.learn(4000, 1000, rng.randint(900, 1100), agent="a", step="write", seconds=20)
    assert learned.estimate(4000, 4096, agent="a", step="plan").expected == pytest.approx(
        100, rel=0.06
    )
    assert learned.estimate(4000, 4096, agent="a", step="write").expected == pytest.approx(
        1000, rel=0.06
    )
    assert learned.estimate(4000, 4096, agent="new").expected == pytest.approx(550, rel=0.06)
    assert learned.estimate(4000, 50, agent="a", step="write").expected == 50
    assert learned.estimate(4000, 50).rate == pytest.approx(50, rel=0.1)
    # Never below what 99 of 100 had, and not far above.
    assert 1000 <= learned.estimate(4000, 50).input <= 1101


def test_workers_share_what_they_learn() -> None:
    one, two = Estimates(), Estimates()
    for _ in range(15):
        one.learn(100, 30, 7, agent="a")
        two.learn(100, 30, 7, agent="a")
    one.merge(decode_estimates(json.loads(json.dumps(two.encode()))))
    assert one.estimate(100, 100, agent="a").expected == pytest.approx(7, rel=0.06)
    assert one.outputs.n == 30


def test_the_document_stays_small() -> None:
    learned, rng = Estimates(), random.Random(1)
    for n in range(20_000):
        size = rng.randint(100, 100_000)
        output = max(1, int(rng.lognormvariate(6, 1.5)))
        learned.learn(size, int(size * rng.uniform(0.2, 0.5)), output, agent=f"agent{n % 100}",
                      seconds=output / rng.uniform(30, 90))  # fmt: skip
    body = json.dumps(learned.encode(), separators=(",", ":"))
    assert len(body) < 16_000
    assert decode_estimates(json.loads(body)).encode()["k"].keys() == learned.encode()["k"].keys()


@pytest.mark.parametrize("value", [None, {}, {"v": 1}, {"v": 1, "i": 3, "r": [], "o": [], "k": {}}])
def test_garbage_is_refused(value: Any) -> None:
    with pytest.raises(CodecError):
        decode_estimates(value)
