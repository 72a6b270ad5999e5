"""The shared circuit breaker."""

from __future__ import annotations

import pytest

from perdure.core import breaker as b
from perdure.core.breaker import CLOSED, Breaker, Rule
from perdure.core.routing import Standing

RULE = Rule(break_after=3, open_for=30.0)


def opened(now: float = 0.0) -> Breaker:
    return b.failed(CLOSED, RULE, now, failures=3)


def test_enough_failures_open_it_for_its_time() -> None:
    state = b.failed(CLOSED, RULE, 0.0, failures=2)
    assert b.standing(state, 0.0) == Standing()
    state = b.failed(state, RULE, 5.0)
    assert b.standing(state, 5.0) == Standing(open_until=35.0)
    assert b.standing(state, 34.9) == Standing(open_until=35.0)
    assert b.standing(state, 35.0) == Standing(probe=True)


def test_failures_of_long_ago_do_not_count() -> None:
    state = b.failed(CLOSED, RULE, 0.0, failures=2)
    state = b.failed(state, RULE, b.WINDOW)
    assert not state.opened
    assert sum(bad for _, bad in state.slots.values()) == 1


def test_few_failures_among_many_calls_do_not_open_it() -> None:
    state = b.failed(CLOSED, RULE, 0.0, failures=10, fine=100)
    assert not state.opened
    state = b.failed(state, RULE, 1.0, failures=90)
    assert state.opened


def test_one_probes_at_a_time_and_a_dead_prober_frees_it() -> None:
    state = opened()
    assert b.take_probe(state, "w1", 29.0) is None
    first = b.take_probe(state, "w1", 30.0)
    assert first is not None
    assert b.take_probe(first, "w2", 31.0) is None
    assert b.standing(first, 31.0) == Standing(open_until=30.0 + b.PROBE)
    second = b.take_probe(first, "w2", 30.0 + b.PROBE)
    assert second is not None
    assert second.probe == "w2"
    # The first prober was not dead but slow: its failure is out of its turn.
    assert b.failed(second, RULE, 91.0, probe="w1") == second


def test_a_probe_that_goes_well_closes_it() -> None:
    state = b.take_probe(opened(), "w1", 30.0)
    assert state is not None
    assert b.well(state) == state  # a call from before it opened
    assert b.well(state, "w1") == CLOSED
    assert b.well(CLOSED, "w1") == CLOSED


def test_it_stays_open_longer_while_probes_fail() -> None:
    state, now, lengths = opened(), 0.0, []
    for _ in range(8):
        lengths.append(state.until - now)
        now = state.until
        taken = b.take_probe(state, "w", now)
        assert taken is not None
        state = b.failed(taken, RULE, now, probe="w")
    assert lengths == [30.0 * n for n in (1, 2, 4, 8, 16, 16, 16, 16)]


def test_calls_that_were_under_way_when_it_opened_are_no_news() -> None:
    state = opened()
    assert b.failed(state, RULE, 1.0, failures=50) == state


def test_a_probe_can_be_given_back() -> None:
    state = b.take_probe(opened(), "w1", 30.0)
    assert state is not None
    assert b.give_back(state, "w2") == state
    assert b.standing(b.give_back(state, "w1"), 31.0) == Standing(probe=True)


@pytest.mark.parametrize(
    "state", [CLOSED, opened(), b.failed(CLOSED, RULE, 7.0, 2, 5), b.take_probe(opened(), "w", 30)]
)
def test_documents(state: Breaker) -> None:
    assert b.decode(b.encode(state)) == state


def test_documents_are_small_and_a_closed_one_is_none() -> None:
    assert b.encode(CLOSED) == b""
    state = CLOSED
    for second in range(600):
        state = b.failed(state, RULE, float(second), failures=1, fine=1000)
    assert len(b.encode(state)) < 300
    assert b.decode(b"not json") == CLOSED
    assert b.decode(b"[]") == CLOSED
    assert b.key("eu/1") == "breaker/eu%2F1"
