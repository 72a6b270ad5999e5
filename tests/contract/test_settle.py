"""Ending attempts: one transaction, the first commit wins, no wake-up is lost (C4, C7)."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

from perdure.codec import BLOB, RAW, encode_failure
from perdure.core.record import Record, RecordType
from perdure.core.run import RunState
from perdure.errors import Conflict
from perdure.store import Store
from perdure.store.base import INLINE_VALUE
from perdure.store.rows import Settled, Wait
from tests.contract.driver import (
    add,
    claim,
    claim_one,
    entry,
    outcome,
    park,
    row,
    seqs,
    settle,
    started,
    state_of,
    statuses,
)

FINAL = [RunState.SUCCEEDED, RunState.FAILED, RunState.DEAD, RunState.CANCELLED]
ERROR = encode_failure(ValueError("no"))


@pytest.mark.parametrize("state", FINAL)
async def test_a_final_state(store: Store, state: RunState) -> None:
    lease = await started(store)
    await store.record([row(lease, 1)])
    last = (entry(b"z"), Record(RecordType.STATUS, name=state, value=b"{}"))
    result, error = (b'"ok"', None) if state is RunState.SUCCEEDED else (None, ERROR)
    assert (
        await settle(store, lease, state, attempts=3, result=result, error=error, records=last)
        is state
    )
    run = await store.get(lease.run_id)
    assert (run.state, run.attempts, run.result, run.worker) == (state, 3, result, None)
    assert run.error == (None if error is None else json.loads(error))
    assert run.finished_at is not None
    assert run.finished_at >= run.created_at
    events = await store.events(lease.run_id)
    assert [(e.seq, e.type) for e in events] == [(1, "entry"), (2, "entry"), (3, "status")]
    assert await claim(store) == []


async def test_an_attempt_ends_once(store: Store) -> None:
    lease = await started(store)
    end = outcome(lease, result=b"1", records=(entry(),))
    assert await store.settle([end]) == [Settled(lease.run_id, RunState.SUCCEEDED)]
    # The answer was lost: the same again.
    assert await store.settle([end]) == [Settled(lease.run_id, RunState.SUCCEEDED)]
    assert await seqs(store, lease.run_id) == [1]
    assert await settle(store, lease, result=b"2") is None
    assert await settle(store, lease, RunState.FAILED) is None
    assert await park(store, lease) is None
    assert (await store.get(lease.run_id)).result == b"1"


async def test_a_park_can_be_repeated(store: Store) -> None:
    lease = await started(store)
    waits = [Wait("signal", "go")]
    assert await park(store, lease, *waits, attempts=1) is RunState.WAITING
    assert await park(store, lease, *waits, attempts=1) is RunState.WAITING
    assert await settle(store, lease) is None


async def test_what_the_lease_does_not_hold_is_not_settled(store: Store) -> None:
    lost, kept = await started(store, "w1"), await started(store, "w2")
    await store.release("w1")
    missing = outcome(kept)
    answers = await store.settle(
        [outcome(lost, records=(entry(),)), outcome(kept), type(missing)("nothing", 1, FINAL[0])]
    )
    assert answers == [
        Settled(lost.run_id, None),
        Settled(kept.run_id, RunState.SUCCEEDED),
        Settled("nothing", None),
    ]
    assert all(event.type != "entry" for event in await store.events(lost.run_id))


async def test_many_attempts_end_in_one_call(store: Store) -> None:
    leases = [await started(store, session="s" if i == 0 else None) for i in range(20)]
    behind = await add(store, session="s")
    answers = await store.settle([outcome(lease, records=(entry(),)) for lease in leases])
    assert [answer.state for answer in answers] == [RunState.SUCCEEDED] * 20
    assert await state_of(store, behind) is RunState.QUEUED


async def test_a_hop(store: Store) -> None:
    lease = await started(store)
    assert await settle(store, lease, RunState.QUEUED, attempts=1) is RunState.QUEUED
    run = await store.get(lease.run_id)
    assert (run.state, run.worker, run.attempts) == (RunState.QUEUED, None, 1)
    again = await claim_one(store, "v")
    assert (again.run_id, again.epoch, again.attempts, again.gone) == (lease.run_id, 2, 1, True)


# -- waiting --------------------------------------------------------------------------------------


async def test_a_parked_run_shows_what_it_waits_for(store: Store) -> None:
    lease = await started(store)
    until = await store.now() + timedelta(hours=1)
    waits = (Wait("signal", "go", 0, until), Wait("uncertain", key="ab", detail="tool send"))
    assert await park(store, lease, *waits, attempts=2) is RunState.WAITING
    run = await store.get(lease.run_id)
    assert run.waits == [wait.to_dict() for wait in waits]
    assert (run.state, run.worker, run.attempts, run.wake_at) == ("waiting", None, 2, until)
    assert await claim(store) == []


async def test_a_parked_run_wakes_in_time(store: Store) -> None:
    lease = await started(store)
    await park(store, lease, Wait("retry"), wake_in=timedelta(seconds=30))
    woken = await store.wake_due()
    assert woken.count == 0
    assert woken.next_in is not None
    assert timedelta(seconds=25) < woken.next_in <= timedelta(seconds=30)
    store.shift_clock(timedelta(seconds=31))
    assert (await store.wake_due()).count == 1
    assert await statuses(store, lease.run_id) == [("queued", "time")]
    run = await store.get(lease.run_id)
    assert (run.waits, run.wake_at) == ([], None)
    assert (await claim_one(store)).run_id == lease.run_id


async def test_the_earliest_time_wakes(store: Store) -> None:
    now = await store.now()
    early, late = now + timedelta(minutes=1), now + timedelta(minutes=9)
    lease = await started(store)
    waits = (Wait("signal", "go", until=late), Wait("sleep", until=early))
    await park(store, lease, *waits, wake_in=timedelta(hours=1))
    assert (await store.get(lease.run_id)).wake_at == early


async def test_a_time_that_has_passed_does_not_park(store: Store) -> None:
    lease = await started(store)
    past = await store.now() - timedelta(seconds=1)
    assert await park(store, lease, Wait("sleep", until=past)) is RunState.QUEUED
    lease = await claim_one(store)
    assert await park(store, lease, wake_in=timedelta(0)) is RunState.QUEUED


async def test_a_waiting_run_wakes_at_its_deadline(store: Store) -> None:
    lease = await started(store, timeout=timedelta(minutes=1))
    await park(store, lease, Wait("signal", "go"))
    assert (await store.get(lease.run_id)).wake_at == lease.deadline_at
    store.shift_clock(timedelta(minutes=2))
    await store.wake_due()
    again = await claim_one(store)
    assert again.deadline_at == lease.deadline_at
    assert again.deadline_at is not None
    assert again.now > again.deadline_at


async def test_a_signal_after_the_park_wakes(store: Store) -> None:
    lease = await started(store)
    await park(store, lease, Wait("signal", "go"), Wait("signal", "stop"))
    await store.signal(lease.run_id, "other", b"1")
    assert await state_of(store, lease.run_id) is RunState.WAITING
    await store.signal(lease.run_id, "stop", b"1")
    assert await statuses(store, lease.run_id) == [("queued", "signal")]
    again = await claim_one(store)
    assert again.next_seq == await store.last_seq(lease.run_id) + 1


async def test_a_signal_before_the_park_keeps_it_from_parking(store: Store) -> None:
    lease = await started(store)
    await store.signal(lease.run_id, "go", b"1")
    assert await park(store, lease, Wait("signal", "go")) is RunState.QUEUED
    again = await claim_one(store)
    # That one was consumed; only a later one counts.
    assert await park(store, again, Wait("signal", "go", after=1)) is RunState.WAITING
    await store.signal(lease.run_id, "other", b"1")
    assert await state_of(store, lease.run_id) is RunState.WAITING
    await store.signal(lease.run_id, "go", b"1")
    assert await state_of(store, lease.run_id) is RunState.QUEUED


async def test_a_cancel_before_the_park_keeps_it_from_parking(store: Store) -> None:
    lease = await started(store)
    await store.cancel(lease.run_id)
    assert await park(store, lease, Wait("signal", "go")) is RunState.QUEUED
    again = await claim_one(store)
    assert again.cancel_requested
    assert await settle(store, again, RunState.CANCELLED) is RunState.CANCELLED


async def test_no_signal_is_lost_between_two_processes(store: Store, other: Store) -> None:
    for _ in range(40):
        lease = await started(store)
        await asyncio.gather(
            park(store, lease, Wait("signal", "go")), other.signal(lease.run_id, "go", b"1")
        )
        assert await state_of(store, lease.run_id) is RunState.QUEUED


async def test_no_cancel_is_lost_between_two_processes(store: Store, other: Store) -> None:
    seen = set()
    for _ in range(40):
        lease = await started(store)
        await asyncio.gather(other.cancel(lease.run_id), park(store, lease, Wait("signal", "go")))
        run = await store.get(lease.run_id)
        assert run.cancel_requested
        assert run.state in (RunState.QUEUED, RunState.CANCELLED)
        seen.add(run.state)
    assert seen


async def test_cancel_and_settle_race_and_the_first_commit_wins(store: Store, other: Store) -> None:
    for _ in range(40):
        lease = await started(store)
        cancelled, settled = await asyncio.gather(
            other.cancel(lease.run_id), settle(store, lease), return_exceptions=True
        )
        assert settled is RunState.SUCCEEDED
        assert await state_of(store, lease.run_id) is RunState.SUCCEEDED
        if isinstance(cancelled, BaseException):
            assert isinstance(cancelled, Conflict)
        else:
            assert cancelled.state is RunState.RUNNING
            assert cancelled.cancel_requested


# -- the parent -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "result", "error", "payload"),
    [
        (RunState.SUCCEEDED, b'{"a":[1]}', None, {"result": {"a": [1]}, "error": None}),
        (RunState.SUCCEEDED, None, None, {"result": None, "error": None}),
        (RunState.SUCCEEDED, RAW + b"\xff", None, {"result": None, "result_ref": True}),
        (RunState.SUCCEEDED, BLOB + b"ab", None, {"result": None, "result_ref": True}),
        (
            RunState.SUCCEEDED,
            b'"' + b"x" * INLINE_VALUE + b'"',
            None,
            {"result": None, "result_ref": True},
        ),
        (RunState.FAILED, None, ERROR, {"result": None, "error": json.loads(ERROR)}),
    ],
)
async def test_a_child_signals_its_parent(
    store: Store,
    state: RunState,
    result: bytes | None,
    error: bytes | None,
    payload: dict[str, object],
) -> None:
    parent = await started(store)
    child = await started(store, "v", parent=parent.run_id, depth=1)
    name = f"run:{child.run_id}"
    assert await park(store, parent, Wait("run", name)) is RunState.WAITING
    await settle(store, child, state, result=result, error=error)
    (signal,) = await store.signals(parent.run_id)
    assert signal.name == name
    assert json.loads(signal.payload) == {"state": state, "error": None} | payload
    assert (await claim_one(store)).run_id == parent.run_id


async def test_a_cancelled_child_signals_its_parent(store: Store) -> None:
    parent = await started(store)
    child = await add(store, parent=parent.run_id)
    await store.cancel(child, "not needed")
    (signal,) = await store.signals(parent.run_id)
    told = json.loads(signal.payload)
    assert (told["state"], told["result"]) == ("cancelled", None)
    assert told["error"]["message"] == "not needed"
    assert await park(store, parent, Wait("run", f"run:{child}")) is RunState.QUEUED


async def test_a_final_or_unknown_parent_is_not_signalled(store: Store) -> None:
    parent = await started(store)
    child = await started(store, parent=parent.run_id)
    orphan = await started(store, parent="11111111-1111-1111-1111-111111111111")
    await settle(store, parent)
    assert await settle(store, child) is RunState.SUCCEEDED
    assert await settle(store, orphan) is RunState.SUCCEEDED
    assert await store.signals(parent.run_id) == []
