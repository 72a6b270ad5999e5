"""When an hour's spending is unusual."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from perdure.core.anomaly import Judgement, Rule, judge, name

START = datetime(2026, 11, 14, tzinfo=UTC)
DOLLAR = 10**9


def hour(n: int) -> str:
    return name(START + timedelta(hours=n))


def spends(*dollars: float) -> dict[str, int]:
    return {hour(n): round(each * DOLLAR) for n, each in enumerate(dollars) if each}


def of(history: dict[str, int], dollars: float, at: int, **rule: int) -> Judgement:
    judged = judge(history, hour(at), round(dollars * DOLLAR), Rule(**rule))
    assert judged is not None
    return judged


def test_many_times_the_median_is_unusual() -> None:
    history = spends(*[10.0] * 48)
    assert of(history, 11, 48) == (False, 10 * DOLLAR, 25 * DOLLAR)
    assert not of(history, 25, 48).unusual
    assert of(history, 25.1, 48).unusual


def test_who_varies_may_vary() -> None:
    numbers = random.Random(1)
    noisy = [10 + numbers.uniform(-6, 6) for _ in range(168)]
    calm = [10 + numbers.uniform(-0.5, 0.5) for _ in range(168)]
    assert not of(spends(*noisy), 28, 168).unusual
    assert of(spends(*calm), 28, 168).unusual


def test_a_few_odd_hours_move_nothing() -> None:
    history = spends(*[10.0] * 40, *[500.0] * 8)
    assert of(history, 30, 48).unusual
    assert of(history, 30, 48).usual == 10 * DOLLAR


def test_hours_without_spending_count() -> None:
    # Nothing at night: what is spent by day is not judged by the days alone.
    nights = spends(*([0.0] * 16 + [10.0] * 8) * 7)
    first = 16  # the first hour that anything was spent in
    assert of(nights, 0.99, 168).bound == DOLLAR
    assert of(nights, 12, 168).unusual
    assert hour(first) in nights


def test_little_money_is_never_unusual() -> None:
    history = spends(*[0.001] * 48)
    assert not of(history, 1.0, 48).unusual
    assert of(history, 1.01, 48).unusual
    assert of(history, 0.5, 48, least=DOLLAR // 4).unusual


@pytest.mark.parametrize("known", [0, 1, 23])
def test_too_little_is_known(known: int) -> None:
    assert judge(spends(*[10.0] * known), hour(known), 10**15, Rule()) is None


def test_it_begins_with_the_first_spending() -> None:
    history = {hour(30): 10 * DOLLAR}
    assert judge(history, hour(53), 10**15, Rule()) is None
    assert judge(history, hour(54), 10**15, Rule()) is not None


def test_later_hours_say_nothing() -> None:
    history = spends(*[10.0] * 48, *[1000.0] * 48)
    assert of(history, 100, 48).usual == 10 * DOLLAR
