"""Signals, cancels, an operator's answers and redrives."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

from perdure.core.record import EntryState
from perdure.core.run import RunState
from perdure.errors import Conflict, NotFound
from perdure.store import Store
from perdure.store.rows import Filter, Wait
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

GONE = "00000000-0000-0000-0000-000000000000"

# -- signals --------------------------------------------------------------------------------------


async def test_signals_are_numbered_and_kept(store: Store) -> None:
    run_id = await add(store)
    before = await store.now()
    assert await store.signal(run_id, "a", b"1") == 1
    assert await store.signal(run_id, "b", b'{"x":2}') == 2
    first, second = await store.signals(run_id)
    assert (first.n, first.name, first.payload) == (1, "a", b"1")
    assert before <= first.at <= second.at <= await store.now()
    assert await store.signals(run_id, after=1) == [second]
    assert [(e.type, e.name, e.value) for e in await store.events(run_id)] == [
        ("signal", "a", b'{"n":1}'),
        ("signal", "b", b'{"n":2}'),
    ]


async def test_a_signal_is_sent_once(store: Store) -> None:
    run_id, another = await add(store), await add(store)
    assert await store.signal(run_id, "a", b"1", dedupe="x") == 1
    assert await store.signal(run_id, "a", b"2") == 2
    assert await store.signal(run_id, "b", b"3", dedupe="x") == 1
    assert await store.signal(another, "a", b"1", dedupe="x") == 1
    assert [signal.payload for signal in await store.signals(run_id)] == [b"1", b"2"]
    await store.cancel(run_id)
    assert await store.signal(run_id, "a", b"1", dedupe="x") == 1


async def test_senders_at_once_get_different_numbers(store: Store, other: Store) -> None:
    run_id = await add(store)
    numbers = await asyncio.gather(
        *((store, other)[i % 2].signal(run_id, "a", b"1") for i in range(30))
    )
    assert sorted(numbers) == list(range(1, 31))


async def test_a_final_run_takes_no_signals(store: Store) -> None:
    lease = await started(store)
    await settle(store, lease)
    with pytest.raises(Conflict, match=r"has succeeded: it takes no signals\.$"):
        await store.signal(lease.run_id, "a", b"1")
    with pytest.raises(NotFound):
        await store.signal(GONE, "a", b"1")


# -- cancel ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["queued", "blocked", "waiting", "delayed"])
async def test_a_run_that_does_not_run_is_cancelled_at_once(store: Store, state: str) -> None:
    if state == "blocked":
        await started(store, session="s")
    run_id = await add(
        store,
        session="s" if state == "blocked" else None,
        delay=timedelta(hours=1) if state == "delayed" else None,
    )
    if state == "waiting":
        await park(store, await claim_one(store), Wait("signal", "go"), wake_in=timedelta(hours=1))
    run = await store.cancel(run_id, "enough")
    assert (run.id, run.state, run.waits, run.wake_at) == (run_id, RunState.CANCELLED, [], None)
    assert run.finished_at is not None
    assert run.error is not None
    assert run.error["message"] == "enough"
    assert await statuses(store, run_id) == [("cancelled", "enough")]
    store.shift_clock(timedelta(hours=2))
    await store.wake_due()
    assert await claim(store) == []


async def test_a_running_run_is_asked_to_stop(store: Store) -> None:
    lease = await started(store)
    run = await store.cancel(lease.run_id, "enough")
    assert (run.state, run.cancel_requested) == (RunState.RUNNING, True)
    assert await statuses(store, lease.run_id) == [("cancelling", "enough")]
    again = await store.cancel(lease.run_id, "again")
    assert again == run
    assert await store.last_seq(lease.run_id) == 1
    assert await settle(store, lease, RunState.CANCELLED) is RunState.CANCELLED


async def test_a_cancel_outlives_the_worker(store: Store) -> None:
    lease = await started(store, "w1")
    await store.cancel(lease.run_id)
    await store.release("w1")
    assert (await claim_one(store)).cancel_requested


async def test_cancelling_twice_changes_nothing(store: Store) -> None:
    run_id = await add(store)
    first = await store.cancel(run_id, "one")
    store.shift_clock(timedelta(minutes=1))
    assert await store.cancel(run_id, "two") == first
    assert await store.last_seq(run_id) == 1


@pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.FAILED, RunState.DEAD])
async def test_a_final_run_is_not_cancelled(store: Store, state: RunState) -> None:
    lease = await started(store)
    await settle(store, lease, state)
    with pytest.raises(Conflict, match=f"A run that {state.says} cannot be cancelled.$"):
        await store.cancel(lease.run_id)
    assert await state_of(store, lease.run_id) is state


async def test_cancelling_nothing(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.cancel(GONE)


# -- resolve --------------------------------------------------------------------------------------


async def uncertain(store: Store, reason: str = "uncertain", state: str = "intent") -> str:
    """A run that waits for an operator's word on the effect ``key``."""
    lease = await started(store)
    await store.record(
        [row(lease, 1, entry(state=EntryState(state), value=b"old")), row(lease, 2, entry(b"x"))]
    )
    await park(store, lease, Wait(reason, key=b"key".hex()))
    return lease.run_id


@pytest.mark.parametrize(("reason", "state"), [("uncertain", "intent"), ("diverged", "done")])
async def test_an_operator_says_what_happened(store: Store, reason: str, state: str) -> None:
    run_id = await uncertain(store, reason, state)
    (asked, other) = await store.journal(run_id)
    run = await store.resolve(run_id, b"key", value=b'"sent"', who="ann")
    assert (run.state, run.waits) == (RunState.QUEUED, [])
    (answered, same) = await store.journal(run_id)
    assert (answered.state, answered.value, answered.took_ms) == ("done", b'"sent"', 0)
    assert answered.seq == 3
    assert answered[2:11] == asked[2:11]
    assert same == other
    (event,) = [e for e in await store.events(run_id) if e.type == "status"]
    assert (event.seq, event.name) == (4, "queued")
    assert event.value is not None
    assert json.loads(event.value) == {"reason": "resolved", "key": b"key".hex(), "who": "ann"}
    assert (await claim_one(store)).run_id == run_id


async def test_an_operator_says_do_it_again(store: Store) -> None:
    run_id = await uncertain(store)
    assert (await store.resolve(run_id, b"key", value=None)).state is RunState.QUEUED
    assert [e.key for e in await store.journal(run_id)] == [b"x"]


async def test_an_answer_can_be_repeated_but_not_changed(store: Store) -> None:
    run_id = await uncertain(store)
    await store.resolve(run_id, b"key", value=b"1")
    last = await store.last_seq(run_id)
    assert (await store.resolve(run_id, b"key", value=b"1")).state is RunState.QUEUED
    assert await store.last_seq(run_id) == last
    with pytest.raises(Conflict):
        await store.resolve(run_id, b"key", value=b"2")
    with pytest.raises(Conflict):
        await store.resolve(run_id, b"key", value=None)


async def test_only_an_open_question_is_answered(store: Store) -> None:
    run_id = await uncertain(store)
    for key in (b"x", b"nothing"):  # done and not asked for; unknown
        with pytest.raises(Conflict):
            await store.resolve(run_id, key, value=b"9")
    with pytest.raises(NotFound):
        await store.resolve(GONE, b"key", value=b"1")
    await store.signal(run_id, "go", b"1")
    assert await state_of(store, run_id) is RunState.WAITING


async def test_nobody_answers_for_a_running_or_final_run(store: Store) -> None:
    lease = await started(store)
    await store.record([row(lease, 1, entry(state=EntryState.INTENT))])
    with pytest.raises(Conflict):
        await store.resolve(lease.run_id, b"key", value=b"1")
    await settle(store, lease, RunState.CANCELLED)
    with pytest.raises(Conflict, match=r"was cancelled: it waits for no answer\.$"):
        await store.resolve(lease.run_id, b"key", value=b"1")
    (open_intent,) = await store.journal(lease.run_id)
    assert open_intent.state == "intent"


# -- redrive --------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.DEAD])
async def test_a_redriven_run_goes_on_from_its_journal(store: Store, state: RunState) -> None:
    lease = await started(store, timeout=timedelta(minutes=10))
    await store.record([row(lease, 1)])
    await store.cancel(lease.run_id)
    await settle(store, lease, state, attempts=5, error=b'{"message":"no"}')
    store.shift_clock(timedelta(hours=1))
    run = await store.redrive(lease.run_id)
    assert (run.state, run.attempts, run.error) == (RunState.QUEUED, 0, None)
    assert (run.finished_at, run.cancel_requested) == (None, False)
    assert (await statuses(store, run.id))[-1] == ("queued", "redriven")
    again = await claim_one(store)
    assert (again.run_id, again.epoch, again.attempts) == (run.id, 2, 0)
    assert len(await store.journal(run.id)) == 1
    assert again.deadline_at is not None
    assert timedelta(minutes=9) < again.deadline_at - again.now <= timedelta(minutes=10)


async def test_a_waiting_run_is_woken_to_look_again(store: Store) -> None:
    lease = await started(store)
    waits = (Wait("limit", detail="the journal has 10 entries"),)
    await settle(store, lease, RunState.WAITING, attempts=2, waits=waits)
    run = await store.redrive(lease.run_id)
    assert (run.state, run.attempts, run.waits) == (RunState.QUEUED, 2, [])
    assert (await statuses(store, run.id))[-1] == ("queued", "redriven")
    assert (await claim_one(store)).run_id == run.id


async def test_only_failed_and_dead_runs_are_redriven(store: Store) -> None:
    lease = await started(store)
    with pytest.raises(Conflict):
        await store.redrive(lease.run_id)
    await store.settle([outcome(lease)])
    with pytest.raises(Conflict):
        await store.redrive(lease.run_id)
    cancelled = await add(store)
    await store.cancel(cancelled)
    with pytest.raises(Conflict):
        await store.redrive(cancelled)
    with pytest.raises(NotFound):
        await store.redrive(GONE)


async def test_a_redriven_child_signals_its_parent_again(store: Store) -> None:
    parent = await started(store)
    child = await started(store, parent=parent.run_id)
    await settle(store, child, RunState.FAILED)
    await store.redrive(child.run_id)
    await settle(store, await claim_one(store), result=b"1")
    assert [json.loads(s.payload)["state"] for s in await store.signals(parent.run_id)] == [
        "failed",
        "succeeded",
    ]


# -- dismiss --------------------------------------------------------------------------------------


async def dead_letter(store: Store) -> str:
    lease = await started(store)
    await settle(store, lease, RunState.DEAD, error=b'{"message":"no"}')
    return lease.run_id


async def test_a_dead_run_is_put_aside_once(store: Store, other: Store) -> None:
    left, run_id = await dead_letter(store), await dead_letter(store)
    run = await store.dismiss(run_id, who="ada")
    assert (run.state, run.dismissed_at is not None) == (RunState.DEAD, True)
    assert [r.id for r in await other.find(Filter(dismissed=False))] == [left]
    assert [r.id for r in await other.find(Filter(dismissed=True))] == [run_id]
    assert (await statuses(store, run_id))[-1] == ("dead", "dismissed")
    log = await seqs(store, run_id)
    store.shift_clock(timedelta(hours=1))
    assert await other.dismiss(run_id) == run
    assert await seqs(store, run_id) == log


async def test_a_redrive_takes_a_dismissed_run_up_again(store: Store) -> None:
    run_id = await dead_letter(store)
    await store.dismiss(run_id)
    assert (await store.redrive(run_id)).dismissed_at is None
    assert (await store.get(run_id)).dismissed_at is None


async def test_only_dead_runs_are_dismissed(store: Store) -> None:
    lease = await started(store)
    with pytest.raises(Conflict):
        await store.dismiss(lease.run_id)
    await settle(store, lease, RunState.FAILED)
    with pytest.raises(Conflict, match=r"has failed: it is no dead letter\.$"):
        await store.dismiss(lease.run_id)
    assert await seqs(store, lease.run_id) == []
    with pytest.raises(NotFound):
        await store.dismiss(GONE)
