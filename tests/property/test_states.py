"""The state machine and retries, whatever happens in whatever order."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from perdure.core.poison import STRIKES_BEFORE_ALONE, Strikes, worker_died
from perdure.core.retry import RetryPolicy, Severity, decide
from perdure.core.run import TRANSITIONS, Event, RunState, advance
from perdure.errors import Conflict

events = st.lists(st.sampled_from(Event), max_size=60)


@given(events)
def test_a_run_only_ever_is_where_the_table_takes_it(happening: list[Event]) -> None:
    state = RunState.QUEUED
    for event in happening:
        try:
            following = advance(state, event)
        except Conflict:
            assert (state, event) not in TRANSITIONS
            continue
        # A final state is left by a redrive alone, and only where there is something to redrive.
        if state.final:
            assert event is Event.REDRIVEN
            assert state in (RunState.FAILED, RunState.DEAD)
        # Nothing is executed that was not queued, and nothing ends well that did not run.
        if following is RunState.RUNNING:
            assert (state, event) == (RunState.QUEUED, Event.CLAIMED)
        if following is RunState.SUCCEEDED:
            assert state is RunState.RUNNING
        state = following


def test_every_state_can_be_reached_and_every_unfinished_one_can_be_left() -> None:
    seen, border = {RunState.QUEUED}, {RunState.QUEUED}
    while border:
        border = {to for (at, _), to in TRANSITIONS.items() if at in border} - seen
        seen |= border
    assert seen == set(RunState)
    for state in RunState:
        if not state.final:
            ends = {to for (at, _), to in TRANSITIONS.items() if at is state}
            assert RunState.CANCELLED in ends


policies = st.builds(
    lambda attempts, base, factor, more: RetryPolicy(
        attempts, timedelta(seconds=base), factor, timedelta(seconds=base + more)
    ),
    st.integers(1, 20),
    st.floats(0, 100),
    st.floats(1, 10),
    st.floats(0, 10_000),
)


@given(
    policies,
    st.integers(1, 10_000),
    st.sampled_from(Severity),
    st.floats(0, 1, exclude_max=True),
    st.none() | st.floats(0, 100_000),
)
def test_delays_are_bounded(
    policy: RetryPolicy, failures: int, severity: Severity, random: float, asked: float | None
) -> None:
    retry_after = None if asked is None else timedelta(seconds=asked)
    verdict = decide(policy, failures, severity, random, retry_after)
    assert verdict.final == (severity is Severity.FATAL or failures >= policy.attempts)
    if verdict.again_in is not None:
        assert verdict.again_in >= (retry_after or timedelta(0))
        most = policy.cap if retry_after is None else retry_after + policy.base
        assert verdict.again_in <= most + timedelta(milliseconds=1)


@given(policies, st.floats(0, 1, exclude_max=True), st.integers(1, 18))
def test_back_off_never_shrinks(policy: RetryPolicy, random: float, failures: int) -> None:
    one = decide(policy, failures, Severity.RETRYABLE, random).again_in
    two = decide(policy, failures + 1, Severity.RETRYABLE, random).again_in
    if one is not None and two is not None:
        assert two >= one


@given(st.lists(st.integers(0, 3), max_size=40))
def test_only_a_run_that_died_alone_and_made_no_progress_is_blamed(progress: list[int]) -> None:
    """L6: ``progress`` is how many entries each attempt added before its worker died."""
    strikes, seq, idle_deaths = Strikes(), 0, 0
    for added in progress:
        seq += added
        idle_deaths = idle_deaths + 1 if not added else 0
        was_alone = strikes.alone
        blame = worker_died(strikes, seq)
        if blame.dead:
            assert was_alone
            assert idle_deaths >= STRIKES_BEFORE_ALONE
            return
        assert not (added and blame.strikes.alone)
        strikes = blame.strikes
