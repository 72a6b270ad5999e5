"""Adding runs: once for each id and idempotency key (X3), all or none."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest

from perdure.core.run import RunState
from perdure.errors import IdempotencyMismatch, NotFound
from perdure.store import Store
from perdure.store.rows import Filter, Idempotency
from tests.contract.driver import add, claim, claim_one, new, settle, started, state_of, statuses


async def test_a_run_is_kept_as_given(store: Store) -> None:
    run = new(
        input=b'{"x":1}', queue="q", tenant="t", priority=3, session="s", max_attempts=2,
        parent_key=b"pk", depth=4, generation=5, labels={"a": "b", "c": ""}, trace="00-aa-bb-01",
        timeout=timedelta(minutes=5),
    )  # fmt: skip
    (answer,) = await store.enqueue([run])
    assert answer == (type(answer))(run.id, RunState.QUEUED)

    seen = await store.get(run.id)
    assert (seen.agent, seen.input, seen.queue, seen.tenant) == ("agent", b'{"x":1}', "q", "t")
    assert (seen.priority, seen.session, seen.max_attempts) == (3, "s", 2)
    assert (seen.depth, seen.generation, seen.labels) == (4, 5, {"a": "b", "c": ""})
    assert (seen.trace, seen.state, seen.epoch, seen.attempts) == (run.trace, "queued", 0, 0)
    assert seen.deadline_at == seen.created_at + timedelta(minutes=5)
    assert seen.started_at is None
    assert seen.finished_at is None
    assert await statuses(store, run.id) == []

    (lease,) = await claim(store, queue="q")
    assert (lease.run_id, lease.input, lease.labels) == (run.id, b'{"x":1}', run.labels)
    assert (lease.tenant, lease.session, lease.queue, lease.depth) == ("t", "s", "q", 4)
    assert (lease.generation, lease.trace, lease.max_attempts) == (5, run.trace, 2)
    assert (lease.created_at, lease.deadline_at) == (seen.created_at, seen.deadline_at)
    assert (lease.epoch, lease.next_seq, lease.gone, lease.alone) == (1, 1, True, False)


async def test_answers_come_in_order(store: Store) -> None:
    runs = [new(session="s" if i % 2 else None) for i in range(50)]
    answers = await store.enqueue(runs)
    assert [answer.id for answer in answers] == [run.id for run in runs]
    assert [str(answer.state) for answer in answers[:4]] == [
        "queued", "queued", "queued", "blocked",
    ]  # fmt: skip


async def test_an_id_is_added_once(store: Store) -> None:
    run = new(input=b"1")
    await store.enqueue([run])
    lease = await claim_one(store)
    await settle(store, lease, result=b"2")

    again, other = await store.enqueue([new(id=run.id, input=b"3"), new()])
    assert (again.id, again.state, again.deduplicated) == (run.id, RunState.SUCCEEDED, False)
    assert other.state is RunState.QUEUED
    assert (await store.get(run.id)).input == b"1"
    twice = new()
    first, second = await store.enqueue([twice, twice])
    assert first.id == second.id
    assert len(await store.find(Filter(states=(RunState.QUEUED,)))) == 2


async def test_two_processes_add_the_same_id(store: Store, other: Store) -> None:
    for _ in range(20):
        run = new()
        await asyncio.gather(store.enqueue([run]), other.enqueue([run]))
    assert len(await store.find(Filter())) == 20


async def test_an_idempotency_key_names_one_run(store: Store) -> None:
    first = new(idempotency=Idempotency("k", b"body"))
    second = new(idempotency=Idempotency("k", b"body"))
    (added,) = await store.enqueue([first])
    (same,) = await store.enqueue([second])
    assert not added.deduplicated
    assert (same.id, same.deduplicated, same.state) == (first.id, True, RunState.QUEUED)
    with pytest.raises(NotFound):
        await store.get(second.id)


async def test_a_key_in_one_call_names_one_run(store: Store) -> None:
    runs = [new(idempotency=Idempotency("k", b"body")) for _ in range(3)]
    answers = await store.enqueue(runs)
    assert {answer.id for answer in answers} == {runs[0].id}
    assert [answer.deduplicated for answer in answers] == [False, True, True]


async def test_a_key_with_another_body_is_refused_and_nothing_is_added(store: Store) -> None:
    await store.enqueue([new(idempotency=Idempotency("k", b"body"))])
    innocent = new()
    with pytest.raises(IdempotencyMismatch):
        await store.enqueue([innocent, new(idempotency=Idempotency("k", b"other"))])
    with pytest.raises(NotFound):
        await store.get(innocent.id)


@pytest.mark.parametrize("scope", [{"tenant": "t"}, {"agent": "b"}])
async def test_keys_are_apart(store: Store, scope: dict[str, str]) -> None:
    await store.enqueue([new(idempotency=Idempotency("k", b"body"))])
    (answer,) = await store.enqueue([new(idempotency=Idempotency("k", b"other"), **scope)])
    assert not answer.deduplicated


async def test_a_key_outlives_its_run_by_the_window(store: Store) -> None:
    window = timedelta(hours=1)
    first = new(idempotency=Idempotency("k", b"body", window))
    await store.enqueue([first])
    store.shift_clock(timedelta(days=30))  # not final: no window runs
    lease = await claim_one(store)
    await settle(store, lease)

    store.shift_clock(window - timedelta(minutes=1))
    (same,) = await store.enqueue([new(idempotency=Idempotency("k", b"body", window))])
    assert (same.id, same.state, same.deduplicated) == (first.id, RunState.SUCCEEDED, True)

    store.shift_clock(timedelta(minutes=2))
    (fresh,) = await store.enqueue([new(idempotency=Idempotency("k", b"other", window))])
    assert not fresh.deduplicated
    await store.reap()  # forgets keys that are over, and this one is not
    (again,) = await store.enqueue([new(idempotency=Idempotency("k", b"other", window))])
    assert again.id == fresh.id


async def test_two_processes_use_one_key(store: Store, other: Store) -> None:
    for i in range(20):
        one, two = await asyncio.gather(
            *(s.enqueue([new(idempotency=Idempotency(f"k{i}", b"b"))]) for s in (store, other))
        )
        assert one[0].id == two[0].id
        assert one[0].deduplicated != two[0].deduplicated


async def test_a_delayed_run_waits_for_its_time(store: Store) -> None:
    run_id = await add(store, delay=timedelta(minutes=5))
    run = await store.get(run_id)
    assert run.state is RunState.WAITING
    assert run.wake_at == run.created_at + timedelta(minutes=5)
    assert await claim(store) == []
    store.shift_clock(timedelta(minutes=6))
    assert (await store.wake_due()).count == 1
    assert (await claim_one(store)).run_id == run_id


async def test_a_run_is_leased_in_place(store: Store) -> None:
    run = new(lease_to="w", timeout=timedelta(minutes=1))
    (answer,) = await store.enqueue([run])
    assert answer.state is RunState.RUNNING
    assert answer.lease is not None
    assert (answer.lease.run_id, answer.lease.epoch, answer.lease.next_seq) == (run.id, 1, 1)
    seen = await store.get(run.id)
    assert (seen.worker, seen.state) == ("w", RunState.RUNNING)
    assert seen.started_at is not None
    assert await claim(store) == []
    assert await settle(store, answer.lease) is RunState.SUCCEEDED


async def test_leasing_in_place_can_be_repeated(store: Store) -> None:
    run = new(lease_to="w")
    (first,) = await store.enqueue([run])
    (again,) = await store.enqueue([run])
    assert again.lease is not None
    assert first.lease is not None
    assert again.lease.epoch == first.lease.epoch
    (stranger,) = await store.enqueue([new(id=run.id, lease_to="v")])
    assert (stranger.lease, stranger.state) == (None, RunState.RUNNING)
    await settle(store, first.lease)
    (late,) = await store.enqueue([run])
    assert (late.lease, late.state) == (None, RunState.SUCCEEDED)


async def test_a_run_that_cannot_go_is_not_leased_in_place(store: Store) -> None:
    await started(store, session="s", cap=("c", 1))
    known = new(idempotency=Idempotency("k", b"b"))
    await store.enqueue([known])
    answers = await store.enqueue(
        [
            new(lease_to="w", session="s"),
            new(lease_to="w", cap=("c", 1)),
            new(lease_to="w", delay=timedelta(seconds=1)),
            new(lease_to="w", idempotency=Idempotency("k", b"b")),
        ]
    )
    assert [answer.lease for answer in answers] == [None] * 4
    assert [str(a.state) for a in answers] == ["blocked", "blocked", "waiting", "queued"]


async def test_many_runs_in_one_call(store: Store) -> None:
    runs = [new(id=str(uuid.UUID(int=i)), priority=i % 3) for i in range(2000)]
    answers = await store.enqueue(runs)
    assert {answer.state for answer in answers} == {RunState.QUEUED}
    (queue,) = await store.stats()
    assert queue.states == {"queued": 2000}
    assert await state_of(store, runs[1999].id) is RunState.QUEUED


async def test_nothing_to_add(store: Store) -> None:
    assert await store.enqueue([]) == []
