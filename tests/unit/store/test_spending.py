"""Reports of costs: groups, sums, what was spared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from perdure.errors import UsageError
from perdure.store.costs import CostFilter, CostRow
from perdure.store.spending import NAMES, moment, question, report


def row(source: str, calls: int = 1, group: dict[str, str] | None = None, **sums: Any) -> CostRow:
    names = (
        "input", "output", "cache_read", "cache_write", "reasoning", "cost", "saved", "estimated",
        "unknown", "took_ms",
    )  # fmt: skip
    return CostRow(
        {**(group or {}), "source": source}, calls, *(sums.get(name, 0) for name in names)
    )


def test_what_went_out_is_apart_from_what_was_spared() -> None:
    rows = [
        row("sent", 5, input=100, output=10, cache_read=40, cost=700, saved=30, estimated=2),
        row("failed", 2, took_ms=9),
        row("void", 1, input=10, cost=50, unknown=1),
        row("cached", 3, input=999, output=999, saved=200),
        row("replayed", 4, input=999, saved=100),
    ]
    [spent] = report((), rows, 10).rows
    assert (spent.calls, spent.failed, spent.void) == (8, 2, 1)
    assert (spent.cached, spent.replayed) == (3, 4)
    assert (spent.input, spent.output, spent.cost, spent.saved) == (110, 10, 750, 330)
    assert spent.hit_rate == 40 / 110
    assert (spent.estimated, spent.unknown, spent.took_ms) == (2, 1, 9)


def test_the_dearest_first_and_the_newest_before() -> None:
    rows = [
        row("sent", group={"agent": "a", "day": "2026-11-20"}, cost=5),
        row("sent", group={"agent": "b", "day": "2026-11-21"}, cost=1),
        row("sent", group={"agent": "c", "day": "2026-11-21"}, cost=3),
        row("replayed", group={"agent": "b", "day": "2026-11-21"}, saved=9),
    ]
    made = report(("agent", "day"), rows, 2)
    assert [spent.group["agent"] for spent in made.rows] == ["c", "b"]
    assert made.rows[1].replayed == 1
    assert (made.more, made.total.cost, made.total.saved) == (1, 9, 9)


def test_runs_are_called_runs() -> None:
    asked = question(("run", "source"), CostFilter(agent="a"))
    assert (asked.by, asked.agent) == (("run_id", "source"), "a")
    [spent] = report(("run", "source"), [row("sent", group={"run_id": "r"})], 1).rows
    assert spent.group == {"run": "r", "source": "sent"}
    assert question(("model",), CostFilter()).by == ("model", "source")


def test_what_costs_are_not_kept_by() -> None:
    with pytest.raises(UsageError, match="'colour'"):
        question(("model", "colour"), CostFilter())
    assert "run_id" not in NAMES


def test_money_is_told_in_dollars_and_exactly() -> None:
    [spent] = report((), [row("sent", cost=1_234_567_890, saved=1)], 1).rows
    told = spent.document()
    assert (told["cost_usd"], told["cost_nano"]) == (1.23456789, 1_234_567_890)
    assert (told["saved_usd"], told["saved_nano"]) == (1e-9, 1)


def test_moments() -> None:
    assert moment("2026-11-01") == datetime(2026, 11, 1, tzinfo=UTC)
    assert moment("2026-11-01t12:00z") == datetime(2026, 11, 1, 12, tzinfo=UTC)
    east = timezone(timedelta(hours=2))
    assert moment("2026-11-01T12:00+02:00") == datetime(2026, 11, 1, 12, tzinfo=east)
    with pytest.raises(ValueError, match="Invalid isoformat"):
        moment("7d")
