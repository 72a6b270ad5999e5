"""Small pure rules: states, retries, poison, the loop guard, crash points."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from perdure.core import crash
from perdure.core.guard import Guard, Limits
from perdure.core.poison import Strikes, worker_died
from perdure.core.record import Kind
from perdure.core.retry import RetryPolicy, Severity, decide
from perdure.core.run import TRANSITIONS, Event, RunState, advance
from perdure.errors import Conflict, LoopGuard

SECOND = timedelta(seconds=1)


def test_final_states_are_left_by_a_redrive_only() -> None:
    for (state, event), following in TRANSITIONS.items():
        if state.final:
            assert event is Event.REDRIVEN
            assert state in (RunState.FAILED, RunState.DEAD)
            assert following is RunState.QUEUED


def test_every_state_that_is_not_final_can_be_cancelled() -> None:
    for state in RunState:
        if not state.final:
            assert advance(state, Event.CANCELLED) is RunState.CANCELLED


def test_a_move_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(Conflict, match="succeeded cannot be claimed"):
        advance(RunState.SUCCEEDED, Event.CLAIMED)


@pytest.mark.parametrize(
    ("failures", "random", "seconds"),
    [(1, 0.0, 0.0), (1, 0.5, 0.5), (2, 0.5, 1.0), (3, 0.5, 2.0), (4, 0.5, 2.5), (900, 0.5, 2.5)],
)
def test_back_off_grows_up_to_its_cap(failures: int, random: float, seconds: float) -> None:
    policy = RetryPolicy(attempts=1000, base=SECOND, factor=2.0, cap=5 * SECOND)
    assert decide(policy, failures, Severity.RETRYABLE, random).again_in == seconds * SECOND


def test_the_last_failure_and_fatal_ones_are_final() -> None:
    policy = RetryPolicy(attempts=3)
    assert not decide(policy, 2, Severity.RETRYABLE, 0.5).final
    assert decide(policy, 3, Severity.RETRYABLE, 0.5).final
    assert decide(policy, 1, Severity.FATAL, 0.5).final


def test_what_the_other_side_asked_for_is_a_lower_bound() -> None:
    policy = RetryPolicy(base=SECOND)
    verdict = decide(policy, 1, Severity.RETRYABLE, 0.5, retry_after=30 * SECOND)
    assert verdict.again_in == 30.5 * SECOND


@pytest.mark.parametrize(
    "wrong",
    [{"attempts": 0}, {"base": -SECOND}, {"cap": timedelta(0)}, {"factor": 0.5}],
)
def test_policies_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"attempts|back-off"):
        RetryPolicy(**wrong)  # type: ignore[arg-type]


def test_two_deaths_without_progress_make_a_run_alone_and_a_third_kills_it() -> None:
    """L6."""
    blame = worker_died(Strikes(), 0)
    assert (blame.strikes, blame.dead) == (Strikes(1, 0, False), False)
    blame = worker_died(blame.strikes, 0)
    assert (blame.strikes, blame.dead) == (Strikes(2, 0, True), False)
    assert worker_died(blame.strikes, 0).dead


def test_progress_starts_the_count_anew() -> None:
    """L6: a strike counts only if nothing was journaled since the last one."""
    strikes = Strikes()
    for seq in range(5, 100, 5):
        blame = worker_died(strikes, seq)
        assert not blame.dead
        assert blame.strikes == Strikes(1, seq, False)
        strikes = blame.strikes
    # Alone, with progress since: not to blame either.
    assert worker_died(Strikes(2, 10, True), 11) == (Strikes(1, 11, False), False)


def test_the_guard_counts_model_calls_effects_and_repeats() -> None:
    """X4."""
    guard = Guard(Limits(model_calls=2, effects=100, repeats=3))
    guard.admit(Kind.MODEL, "m", b"1")
    guard.admit(Kind.MODEL, "m", b"2")
    with pytest.raises(LoopGuard, match="more than 2 model calls"):
        guard.admit(Kind.MODEL, "m", b"3")
    guard = Guard(Limits(effects=2))
    guard.admit(Kind.STEP, "a", b"")
    guard.admit(Kind.EMIT, "b", b"")
    with pytest.raises(LoopGuard, match="more than 2 effects") as caught:
        guard.admit(Kind.SLEEP, "c", b"")
    assert caught.value.detail == {"limit": "effects", "value": 2}


def test_the_guard_counts_identical_repeats_of_models_and_tools() -> None:
    """X4: polling with a step or a sleep is no loop."""
    guard = Guard(Limits(repeats=3))
    for kind in (Kind.TOOL, Kind.MODEL):
        for content in (b"x", b"y"):
            for _ in range(3):
                guard.admit(kind, "n", content)
            with pytest.raises(LoopGuard, match="again and again"):
                guard.admit(kind, "n", content)
    for _ in range(10):
        guard.admit(Kind.STEP, "n", b"x")
        guard.admit(Kind.SLEEP, "n", b"x")


def test_none_switches_a_limit_off() -> None:
    """X4."""
    guard = Guard(Limits(model_calls=None, effects=None, repeats=None))
    for _ in range(20_000):
        guard.admit(Kind.MODEL, "m", b"")


@pytest.fixture
def reached() -> Iterator[list[crash.Point]]:
    found: list[crash.Point] = []
    crash.hook = found.append
    yield found
    crash.hook = None


def test_crash_points_tell_who_armed_them(reached: list[crash.Point]) -> None:
    crash.reach(crash.Point.AFTER_COMMIT)
    assert reached == [crash.Point.AFTER_COMMIT]
    crash.hook = None
    crash.reach(crash.Point.AFTER_COMMIT)
    assert len(reached) == 1
