"""Ending attempts: outcome, last records, wake-up time and everything the end sets free, in one
transaction. A park looks for what it would wait for before it waits (C7)."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.core.run import Event, RunState, advance
from perdure.store.rows import NextGeneration, Settled, Settlement
from perdure.store.sqlite.columns import MOVED, Row, from_time, micros, to_json
from perdure.store.sqlite.verbs.log import append_records
from perdure.store.sqlite.verbs.moves import append_status, finish, free_slot, tell_run
from perdure.store.sqlite.writer import Transaction

_EVENTS = {
    RunState.SUCCEEDED: Event.SUCCEEDED,
    RunState.FAILED: Event.FAILED,
    RunState.DEAD: Event.EXHAUSTED,
    RunState.CANCELLED: Event.CANCELLED,
    RunState.WAITING: Event.PARKED,
    RunState.QUEUED: Event.HOPPED,
}


def settle(tx: Transaction, settlements: Sequence[Settlement]) -> list[Settled]:
    """See ``Store.settle``."""
    return [Settled(each.run_id, _settle(tx, each)) for each in settlements]


def _settle(tx: Transaction, new: Settlement) -> RunState | None:
    run = tx.one(f"SELECT {MOVED} FROM runs WHERE id = ?", new.run_id)
    if run is None or run["epoch"] != new.epoch:
        return None
    if run["state"] != RunState.RUNNING:
        return _repeated(tx, run, new)
    state = advance(RunState.RUNNING, _EVENTS[new.state])
    append_records(tx, run["n"], new.epoch, new.records)
    tell_run(tx, run)
    if state.final:
        finish(tx, run, state, attempts=new.attempts, result=new.result, error=new.error)
        return state
    if state is RunState.WAITING:
        return _park(tx, run, new)
    _queue(tx, run, new)
    if new.next is not None:
        _begin_generation(tx, run, new.next)
    return state


def _begin_generation(tx: Transaction, run: Row, following: NextGeneration) -> None:
    tx.run(
        "UPDATE runs SET input = ?, generation = generation + 1,"
        " since = (SELECT coalesce(max(seq), 0) FROM log WHERE run = ?2) WHERE n = ?2",
        following.input, run["n"],
    )  # fmt: skip
    tx.run(
        "UPDATE signals SET read = 1 WHERE run = ? AND n IN (SELECT value FROM json_each(?))",
        run["n"], to_json(following.taken),
    )  # fmt: skip


def _repeated(tx: Transaction, run: Row, new: Settlement) -> RunState | None:
    """A call whose answer was lost is made again: the run is where this very attempt took it.
    That a queued run was queued by this attempt, and not orphaned, cannot be told."""
    if run["state"] != new.state or new.state is RunState.QUEUED:
        return None
    there = tx.one("SELECT attempts, result, error FROM runs WHERE n = ?", run["n"])
    given = (new.attempts, new.result, new.error) if new.state.final else (new.attempts, None, None)
    return new.state if tuple(there) == given else None


def _park(tx: Transaction, run: Row, new: Settlement) -> RunState:
    wake_at = _wake_at(tx, run, new)
    reason = _unread(tx, run, new)
    if reason is None and wake_at is not None and wake_at <= tx.now:
        reason = "time"
    if reason is not None:
        _queue(tx, run, new)
        append_status(tx, run, RunState.QUEUED, reason=reason)
        return RunState.QUEUED
    tx.run(
        "UPDATE runs SET state = 'waiting', worker = NULL, reserved_by = NULL, attempts = ?,"
        " wake_at = ?, waits = ? WHERE n = ?",
        new.attempts, wake_at, to_json([wait.to_dict() for wait in new.waits]), run["n"],
    )  # fmt: skip
    if wake_at is not None:
        tx.tell("timers")
    free_slot(tx, run)
    return RunState.WAITING


def _wake_at(tx: Transaction, run: Row, new: Settlement) -> int | None:
    """The earliest of its timers; at the run's deadline it wakes whatever it waits for."""
    times = [from_time(wait.until) for wait in new.waits if wait.until is not None]
    if new.wake_in is not None:
        times.append(tx.now + micros(new.wake_in))
    if run["deadline_at"] is not None:
        times.append(run["deadline_at"])
    return min(times, default=None)


def _unread(tx: Transaction, run: Row, new: Settlement) -> str | None:
    """What arrived while the attempt was on its way to park."""
    if run["cancel_requested"]:
        return "cancel"
    for wait in new.waits:
        if wait.name is not None and tx.value(
            "SELECT EXISTS (SELECT 1 FROM signals"
            " WHERE run = ? AND n > ? AND name = ? AND NOT read)",
            run["n"], wait.after, wait.name,
        ):  # fmt: skip
            return "signal"
    return None


def _queue(tx: Transaction, run: Row, new: Settlement) -> None:
    """Back to the queue; it keeps the slot of its cap and its session."""
    tx.run(
        "UPDATE runs SET state = 'queued', worker = NULL, reserved_by = NULL, attempts = ?,"
        " ready_at = ?, wake_at = NULL, waits = '[]' WHERE n = ?",
        new.attempts, tx.now, run["n"],
    )  # fmt: skip
    tx.tell("work", run["queue"])
