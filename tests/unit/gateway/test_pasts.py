"""What a run is expected to take: declared, or learned."""

from __future__ import annotations

import pytest

from perdure.config import AgentConfig
from perdure.core.admission.preflight import Past, Plan
from perdure.core.budget import Nano
from perdure.gateway.pasts import planned


def after(runs: int) -> Past:
    past = Past()
    for _ in range(runs):
        past.learn(Plan(4, 3_000, 1_000, 500, 20.0))
    return past


def test_what_is_declared_counts_until_enough_runs_are_known() -> None:
    plan = planned(after(19), AgentConfig(expected_tokens=8_000, expected_cost=Nano(900)))
    assert (plan.input, plan.output, plan.cost) == (6_000, 2_000, 900)
    assert plan.calls == 4


def test_then_what_was_learned_is_held_where_it_is_less() -> None:
    plan = planned(after(20), AgentConfig(expected_tokens=8_000, expected_cost=Nano(900)))
    assert plan.input == pytest.approx(3_000, rel=0.1)
    assert plan.output == pytest.approx(1_000, rel=0.1)
    assert plan.cost == pytest.approx(500, rel=0.1)


def test_no_more_is_held_than_is_declared() -> None:
    plan = planned(after(20), AgentConfig(expected_tokens=2_000, expected_cost=Nano(100)))
    assert plan.input + plan.output == 2_000
    assert plan.cost == 100


def test_what_is_not_declared_is_the_most_that_was_seen() -> None:
    assert planned(after(1), AgentConfig()).input == pytest.approx(3_000, rel=0.1)
    unknown = planned(Past(), AgentConfig())
    assert (unknown.input, unknown.output, unknown.cost) == (0, 0, 0)
