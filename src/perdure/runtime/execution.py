"""Executes one leased run: perform the attempt, decide what its outcome means, settle."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta
from typing import Any, NamedTuple, cast

import orjson

from perdure.codec import encode_failure
from perdure.core import crash
from perdure.core.ports import About
from perdure.core.record import Record, RecordType
from perdure.core.retry import Severity, decide
from perdure.core.run import RunState
from perdure.errors import (
    NoHeadroom,
    Parked,
    PerdureError,
    RunCancelled,
    RunDead,
    RunFailed,
    RunTimeout,
)
from perdure.runtime.attempt import Attempt
from perdure.runtime.closing import Ending
from perdure.runtime.policy import retry_after
from perdure.store.rows import NextGeneration, Settlement, Wait

log = logging.getLogger("perdure.execution")


class Outcome:
    """How the agent's code ended."""

    __slots__ = ("error", "value")

    def __init__(self, value: Any = None, error: BaseException | None = None) -> None:
        self.value = value
        self.error = error


class Ended(NamedTuple):
    """What an attempt's end made of its run: the run's state now, and where that is final the
    result or failure document (codec bytes), so that whoever waited needs no read."""

    state: RunState
    result: bytes | None = None
    error: bytes | None = None


async def execute(attempt: Attempt) -> Ended | None:
    """Run one attempt and settle it in one transaction. None: the lease was lost."""
    crash.reach(crash.Point.AFTER_CLAIM)
    deadline = _arm_deadline(attempt)
    succeeded = False
    try:
        outcome = await _perform(attempt)
        settlement = await _settlement(attempt, outcome)
        succeeded = settlement is not None and settlement.state is RunState.SUCCEEDED
        _let_go(outcome.error)
    finally:
        if attempt.runtime.preflight is not None:
            attempt.runtime.preflight.end(attempt.run_id, succeeded=succeeded)
        if deadline is not None:
            deadline.cancel()
        attempt.over()
    if attempt.closing.ending is Ending.LOST or settlement is None:
        return None
    try:
        settled = await attempt.runtime.recorder.settle(settlement)
    except Exception as error:
        # Something in it cannot be written. The run must not stay leased for ever.
        log.exception(
            "run %s: its end cannot be written", attempt.run_id, extra={"run_id": attempt.run_id}
        )
        failure = RunFailed(f"The end of the run could not be written: {error}")
        settlement = _settle(attempt, RunState.FAILED, error=failure)
        settled = await attempt.runtime.recorder.settle(settlement)
    if settled.state is None:
        return None
    if settled.state != settlement.state:
        return Ended(settled.state)  # a signal or cancel was there already
    return Ended(settled.state, settlement.result, settlement.error)


def _let_go(error: BaseException | None) -> None:
    """Its tracebacks lead to the frames that hold it and all that the attempt had: without them
    that is freed now, and not when the garbage collector comes by."""
    errors = [error]
    while errors:
        one = errors.pop()
        if one is not None and one.__traceback__ is not None:
            one.__traceback__ = None
            errors += [one.__cause__, one.__context__]


def _arm_deadline(attempt: Attempt) -> asyncio.TimerHandle | None:
    lease = attempt.lease
    if lease.deadline_at is None:
        return None
    left = (lease.deadline_at - lease.now).total_seconds()
    error = RunTimeout(f"The run's deadline {lease.deadline_at.isoformat()} passed.")
    return attempt.loop.call_later(
        max(left, 0), lambda: attempt.closing.close(Ending.FAIL, error=error, within=timedelta(0))
    )


async def _perform(attempt: Attempt) -> Outcome:
    lease = attempt.lease
    if lease.cancel_requested:
        return Outcome(error=RunCancelled("Cancelled before it went on."))
    if lease.deadline_at is not None and lease.deadline_at <= lease.now:
        return Outcome(error=RunTimeout(f"The run's deadline {lease.deadline_at} passed."))
    try:
        await attempt.load()
        value = await attempt.decode_input()
        await _find_room(attempt)
        result = await attempt.call(value)
        await attempt.closing.finish()
        return Outcome(result)
    except asyncio.CancelledError as error:
        if attempt.closing.cancelling or attempt.closing.ending is not None:
            _uncancel()
        elif cast("asyncio.Task[Any]", asyncio.current_task()).cancelling():
            raise  # the worker itself is being stopped at once
        # Else it is of the agent's own making, like any error.
        outcome = Outcome(error=error)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        # Libraries have such errors of their own, and sys.exit() ends a run, not the worker.
        outcome = Outcome(error=error)
    await attempt.closing.finish(failed=True)
    return outcome


async def _find_room(attempt: Attempt) -> None:
    """Where the whole run has no room in its limits and budgets, park before the agent's code
    begins: ``attempt.call`` finds that out. Raises NoHeadroom where waiting is no use, or not
    wanted."""
    preflight = attempt.runtime.preflight
    if preflight is None:
        return
    resumed = attempt.pen.entries > 0 or attempt.lease.generation > 1
    refused = await preflight.begin(_about(attempt), resumed=resumed)
    if refused is None:
        return
    if refused.strict or refused.until is None:
        raise NoHeadroom(f"The run was not begun: {refused.detail}.")
    wait = Wait("quota", until=refused.until, detail=refused.detail[:500])
    attempt.closing.close(Ending.PARK, waits=(wait,))


def _about(attempt: Attempt) -> About:
    lease = attempt.lease
    return About(
        lease.run_id, lease.agent, lease.tenant, lease.session or "",
        feature=lease.labels.get("feature", ""), priority=lease.priority,
        deadline=lease.deadline_at,
    )  # fmt: skip


def _uncancel() -> None:
    task = cast("asyncio.Task[Any]", asyncio.current_task())
    while task.cancelling():
        task.uncancel()


async def _settlement(attempt: Attempt, outcome: Outcome) -> Settlement | None:
    """What the attempt's end means for its run."""
    closing = attempt.closing.ending
    if closing is Ending.LOST:
        return None
    if outcome.error is None and closing in (None, Ending.PARK, Ending.HOP):
        try:
            result = await attempt.stored(attempt.agent.encode_output(outcome.value))
        except PerdureError as error:
            return _failure(attempt, error)
        return _settle(attempt, RunState.SUCCEEDED, result=result)
    if attempt.closing.cancelling or isinstance(outcome.error, RunCancelled):
        cancelled = RunCancelled("The run was cancelled.")
        return _settle(attempt, RunState.CANCELLED, error=cancelled)
    if closing is Ending.PARK:
        return _park(attempt)
    if closing is Ending.HOP:
        return _hop(attempt)
    if closing is Ending.CONTINUE:
        return _continue(attempt)
    failure = (attempt.closing.error if closing is Ending.FAIL else None) or outcome.error
    assert failure is not None
    return _failure(attempt, failure)


def _park(attempt: Attempt) -> Settlement:
    now = attempt.now()
    until = [wait.until for wait in attempt.closing.waits if wait.until is not None]
    wake_in = max(min(until) - now, timedelta(0)) if until else None
    if attempt.lease.deadline_at is not None:
        left = max(attempt.lease.deadline_at - now, timedelta(0))
        wake_in = left if wake_in is None else min(wake_in, left)
    return _settle(attempt, RunState.WAITING, waits=attempt.closing.waits, wake_in=wake_in)


def _hop(attempt: Attempt) -> Settlement:
    if attempt.pen.added:
        return _settle(attempt, RunState.QUEUED, reason="hop")
    # C6: an attempt that adds nothing would hop for ever.
    error = RunDead("The attempt ended before it could add anything: its first step needs longer "
                    "than an attempt may take.")  # fmt: skip
    return _failure(attempt, error, severity=Severity.RETRYABLE)


def _continue(attempt: Attempt) -> Settlement:
    """The run's next generation."""
    if not attempt.pen.entries:
        # As in C6: it would go on for ever and get nowhere.
        error = RunDead("A generation of the run ended by continue_as before it did anything.")
        return _failure(attempt, error, severity=Severity.RETRYABLE)
    assert attempt.closing.following is not None
    following = NextGeneration(attempt.closing.following, attempt.waiting.taken)
    return _settle(attempt, RunState.QUEUED, attempts=0, reason="continued", following=following)


def _failure(
    attempt: Attempt, error: BaseException, *, severity: Severity | None = None
) -> Settlement:
    lease = attempt.lease
    failures = lease.attempts + 1
    if isinstance(error, Parked):
        # Agent code raised it outside of any closing: it can only come from a bug here.
        error = RuntimeError("Parked left an attempt that was not closing")
    if severity is None:
        severity = attempt.policy.severity(error)
    verdict = decide(attempt.policy.retry, failures, severity, random.random(), retry_after(error))
    records = tuple(attempt.void_failures())
    if verdict.again_in is not None and failures < lease.max_attempts:
        log.info(
            "run %s: attempt %d failed: %r",
            lease.run_id,
            failures,
            error,
            extra={"run_id": lease.run_id, "agent": lease.agent, "attempt": failures},
        )
        wait = Wait("retry", detail=f"{type(error).__name__}: {error}"[:500])
        return _settle(
            attempt, RunState.WAITING, attempts=failures, waits=(wait,),
            wake_in=verdict.again_in, error=error, records=records,
        )  # fmt: skip
    state = RunState.FAILED if severity is Severity.FATAL else RunState.DEAD
    return _settle(attempt, state, attempts=failures, error=error, records=records)


def _settle(
    attempt: Attempt,
    state: RunState,
    *,
    attempts: int | None = None,
    result: bytes | None = None,
    error: BaseException | None = None,
    waits: tuple[Wait, ...] = (),
    wake_in: timedelta | None = None,
    records: tuple[Record, ...] = (),
    reason: str | None = None,
    following: NextGeneration | None = None,
) -> Settlement:
    document = encode_failure(error) if error is not None else None
    about: dict[str, Any] = {}
    if waits:
        about["waits"] = [wait.to_dict() for wait in waits]
    if reason:
        about["reason"] = reason
    if following is not None:
        about["generation"] = attempt.lease.generation + 1
    if document is not None:
        about["error"] = orjson.Fragment(document)
    status = Record(
        RecordType.STATUS, name=state.value, value=orjson.dumps(about) if about else None
    )
    return Settlement(
        attempt.run_id,
        attempt.lease.epoch,
        state,
        attempts=attempt.lease.attempts if attempts is None else attempts,
        result=result,
        error=document,
        waits=waits,
        wake_in=wake_in,
        records=(*records, status),
        next=following,
    )
