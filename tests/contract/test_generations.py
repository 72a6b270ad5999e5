"""A run goes on in its next generation, with a fresh journal (Z1)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from perdure.core.record import EntryState, Record, RecordType
from perdure.core.run import RunState
from perdure.errors import Conflict
from perdure.store import Store
from perdure.store.rows import Idempotency, NextGeneration, Wait
from tests.contract.driver import (
    add,
    claim,
    claim_one,
    entry,
    new,
    park,
    row,
    seqs,
    settle,
    started,
    state_of,
)

DAY = timedelta(days=1)
CONTINUED = Record(RecordType.STATUS, name="queued", value=b'{"reason":"continued"}')


async def test_the_next_generation_has_a_fresh_journal(store: Store) -> None:
    lease = await started(store)
    await store.record([row(lease, 1, entry(b"a"))])
    following = NextGeneration(b'"second"')
    state = await settle(store, lease, RunState.QUEUED, records=(CONTINUED,), next=following)
    assert state is RunState.QUEUED
    run = await store.get(lease.run_id)
    assert (run.generation, run.input, run.attempts) == (2, b'"second"', 0)
    again = await claim_one(store)
    assert (again.run_id, again.generation, again.input) == (lease.run_id, 2, b'"second"')
    assert (again.epoch, again.next_seq) == (2, 3)
    assert await store.journal(lease.run_id) == []
    await store.record([row(again, 3, entry(b"a", value=b"2"))])
    (only,) = await store.journal(lease.run_id)
    assert (only.seq, only.value) == (3, b"2")
    assert await seqs(store, lease.run_id) == [1, 2, 3]


async def test_an_old_attempt_begins_no_generation(store: Store) -> None:
    lease = await started(store, "w1")
    await store.release("w1")
    assert await settle(store, lease, RunState.QUEUED, next=NextGeneration(b"2")) is None
    run = await store.get(lease.run_id)
    assert (run.generation, run.input) == (1, b"{}")


async def test_a_repeated_call_begins_no_second_generation(store: Store) -> None:
    lease = await started(store)
    for expected in (RunState.QUEUED, None):
        assert await settle(store, lease, RunState.QUEUED, next=NextGeneration(b"2")) is expected
    assert (await store.get(lease.run_id)).generation == 2


async def test_signals_that_were_not_taken_carry_over(store: Store) -> None:
    lease = await started(store)
    for n in range(1, 4):
        assert await store.signal(lease.run_id, "go", b"%d" % n, dedupe=f"d{n}") == n
    await settle(store, lease, RunState.QUEUED, next=NextGeneration(b"2", taken=(1, 3)))
    again = await claim_one(store)
    assert [s.n for s in await store.signals(lease.run_id)] == [2]
    # What was taken is not asked for again, though the new journal knows nothing of it...
    assert await park(store, again, Wait("signal", "go", after=2)) is RunState.WAITING
    # ...and its number and its dedupe stay taken.
    assert await store.signal(lease.run_id, "go", b"x", dedupe="d3") == 3
    assert await state_of(store, lease.run_id) is RunState.WAITING
    assert await store.signal(lease.run_id, "go", b"4") == 4
    assert await state_of(store, lease.run_id) is RunState.QUEUED


async def test_an_unread_signal_keeps_the_next_generation_from_parking(store: Store) -> None:
    lease = await started(store)
    await store.signal(lease.run_id, "go", b"1")
    await store.signal(lease.run_id, "stop", b"2")
    await settle(store, lease, RunState.QUEUED, next=NextGeneration(b"2", taken=(1,)))
    again = await claim_one(store)
    assert await park(store, again, Wait("signal", "go")) is RunState.WAITING
    await store.redrive(lease.run_id)
    again = await claim_one(store)
    assert await park(store, again, Wait("signal", "stop")) is RunState.QUEUED


async def test_it_stays_the_same_run_to_everyone_else(store: Store) -> None:
    key = Idempotency("k", b"body")
    parent = await started(store)
    lease = await started(store, session="s", cap=("c", 1), idempotency=key)
    behind = await add(store, session="s")
    child = await started(store, parent=parent.run_id, depth=1)
    for each in (lease, child):
        await settle(store, each, RunState.QUEUED, next=NextGeneration(b"2"))
    (again,) = await store.enqueue([new(idempotency=key)])
    assert (again.id, again.deduplicated) == (lease.run_id, True)
    assert await state_of(store, behind) is RunState.BLOCKED
    assert await store.signals(parent.run_id) == []
    for each in await claim(store):
        await settle(store, each, result=b'"last"')
    (told,) = await store.signals(parent.run_id)
    assert (told.name, b'"last"' in told.payload) == (f"run:{child.run_id}", True)
    assert await state_of(store, behind) is RunState.QUEUED


async def test_an_operator_answers_the_present_generation_only(store: Store) -> None:
    lease = await started(store)
    await store.record([row(lease, 1, entry(b"old", EntryState.INTENT))])
    await settle(store, lease, RunState.QUEUED, next=NextGeneration(b"2"))
    again = await claim_one(store)
    await park(store, again, Wait("uncertain", key=b"new".hex()))
    with pytest.raises(Conflict):
        await store.resolve(lease.run_id, b"old", value=b"1")


async def test_the_logs_of_earlier_generations_are_shortened(store: Store) -> None:
    lease = await started(store)
    await store.record([row(lease, n) for n in range(1, 8)])
    first = NextGeneration(b"2")
    await settle(store, lease, RunState.QUEUED, records=(CONTINUED,), next=first)
    again = await claim_one(store)
    await store.record([row(again, n) for n in range(9, 12)])
    assert await store.trim(0, await store.now() - DAY) == (0, None)
    rows, after = 0, 0
    while True:
        portion = await store.trim(after, await store.now(), 3)
        rows += portion.rows
        if portion.after is None:
            break
        after = portion.after
    assert rows == 7
    assert await seqs(store, lease.run_id) == [8, 9, 10, 11]
    assert len(await store.journal(lease.run_id)) == 3
    assert await store.last_seq(lease.run_id) == 11
    assert await store.record([row(again, 12)]) == []
