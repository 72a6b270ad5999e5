"""A fallback beside its primary, and the bars it is held to."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.cli.drill.sides import Bars, Check, Side, judge, passed, real
from perdure.core.charge import Charge, Priced, Source


def row(target: str = "east", why: str = "first", **fields: Any) -> Charge:
    known = {"cost": 100, "priced": Priced.KNOWN, "took_ms": 10, "source": Source.SENT}
    return Charge(b"", "a", "p", "m", target=target, why=why, **{**known, **fields})


def side(name: str = "west", **fields: Any) -> Side:
    known = {"calls": 10, "answered": 10, "cost": 1000, "took": [10] * 10}
    return Side(name, **{**known, **fields})


def by_name(checks: tuple[Check, ...]) -> dict[str, bool]:
    return {check.name: check.passed for check in checks}


def test_real_traffic_is_told_apart() -> None:
    primary, drilled = real(
        [
            row(),
            row(why="first: HTTP 500", source=Source.FAILED, cost=0),
            row(why="weight 3/4", target="north"),
            row("west", "drill", took_ms=40),
            row("west", "drill: ReadTimeout", source=Source.FAILED, cost=0),
            row("west", "drill", source=Source.VOID),
            # What says nothing about either:
            row("west", "after east"),
            row("east", "after west"),
            row("east", "probe"),
            row("west", "broken: east"),
            row("west", "drill", source=Source.REPLAYED),
            row(feature="drill"),
        ],
        "west",
        "drill",
    )
    assert (primary.target, primary.calls, primary.answered) == ("east, north", 3, 2)
    assert (drilled.target, drilled.calls, drilled.answered) == ("west", 3, 1)
    assert drilled.took == [40]
    assert drilled.cost_per_answer == 200  # of the void one as well


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.95, 95), (0.01, 1), (1.0, 100), (0.0, 1)]
)
def test_percentiles(share: float, expected: int) -> None:
    assert side(took=list(range(100, 0, -1))).percentile(share) == expected
    assert side(took=[]).percentile(share) is None


def test_as_good_as_the_primary() -> None:
    checks = judge(side(), side("east"), Bars())
    assert passed(checks)
    assert set(by_name(checks)) == {"success", "latency", "cost"}  # nothing was scored


@pytest.mark.parametrize(
    ("worse", "failed"),
    [
        ({"answered": 9}, "success"),
        ({"took": [31] * 10}, "latency"),
        ({"cost": 2010}, "cost"),
        ({"scores": [0.8] * 10}, "quality"),
    ],
)
def test_each_bar(worse: dict[str, Any], failed: str) -> None:
    primary = side("east", scores=[1.0] * 10)
    bars = Bars(success=0.95)
    one = side(**{"scores": [1.0] * 10, **worse})
    assert [name for name, good in by_name(judge(one, primary, bars)).items() if not good] == [
        failed
    ]


def test_quality_is_beside_the_primarys() -> None:
    bad = side("east", scores=[0.5] * 4)
    assert passed(judge(side(scores=[0.5] * 4), bad, Bars()))
    # Without an example the scores themselves count.
    nothing = Side("east", calls=4, scores=[0.0] * 4)
    assert not passed(judge(side(scores=[0.5] * 4), nothing, Bars()))
    assert passed(judge(side(scores=[1.0] * 4), nothing, Bars()))


def test_a_drill_without_calls_proves_nothing() -> None:
    assert not passed(judge(Side("west"), side("east"), Bars()))


def test_a_price_that_nobody_knows_is_not_held_against_it() -> None:
    checks = {check.name: check for check in judge(side(unpriced=1), side("east"), Bars())}
    assert checks["cost"].value is None
    assert checks["cost"].passed


def test_paid_instead_of_free() -> None:
    assert not by_name(judge(side(), side("east", cost=0), Bars()))["cost"]
    assert by_name(judge(side(cost=0), side("east", cost=0), Bars()))["cost"]
