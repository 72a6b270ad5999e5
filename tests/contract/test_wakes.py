"""Wake-ups: told after the commit, in this process and the others."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

import pytest

from perdure.core.run import RunState
from perdure.errors import IdempotencyMismatch
from perdure.store import Store
from perdure.store.rows import Idempotency, Wait
from tests.contract.driver import Heard, add, claim, new, park, row, settle, started


async def test_new_work_is_told(store: Store, other: Store) -> None:
    here, there = Heard(store, "work"), Heard(other, "work")
    run_id = await add(store, queue="q")
    await here.something()
    await there.something()
    assert set(here.payloads) == {"q"}
    assert set(there.payloads) == {"q"}
    # What is told can be claimed.
    assert [lease.run_id for lease in await claim(other, queue="q")] == [run_id]


async def test_an_undone_listener_hears_nothing(store: Store) -> None:
    gone, still = Heard(store, "work"), Heard(store, "work")
    gone.stop()
    gone.stop()
    await add(store)
    await still.something()
    assert gone.payloads == []


async def test_what_was_taken_back_is_not_told(store: Store) -> None:
    await store.enqueue([new(idempotency=Idempotency("k", b"1"))])
    heard = Heard(store, "work")
    with pytest.raises(IdempotencyMismatch):
        await store.enqueue([new(queue="no"), new(idempotency=Idempotency("k", b"2"))])
    await add(store, queue="yes")
    await heard.something()
    assert "no" not in heard.payloads


async def test_every_way_to_become_ready_is_told(store: Store, other: Store) -> None:
    heard = Heard(other, "work")

    async def told() -> None:
        await heard.something()
        heard.payloads.clear()

    lease = await started(store, session="s", cap=("c", 1))
    await add(store, session="s")
    await add(store, cap=("c", 1))
    await settle(store, lease)  # promotes both
    await told()
    for _ in range(2):
        (lease, *_) = await claim(store, limit=1)
        await park(store, lease, Wait("signal", "go"), wake_in=timedelta(minutes=1))
        await store.signal(lease.run_id, "go", b"1")
        await told()
    (lease, *_) = await claim(store, "dying")
    await store.release("dying")
    await told()
    (lease, *_) = await claim(store)
    await settle(store, lease, RunState.FAILED)
    await store.redrive(lease.run_id)
    await told()


async def test_timers_are_told(store: Store, other: Store) -> None:
    heard = Heard(other, "timers")
    lease = await started(store)
    await park(store, lease, Wait("sleep"), wake_in=timedelta(minutes=1))
    await heard.something()
    await add(store, delay=timedelta(minutes=1))
    await heard.something()


async def test_a_worker_is_told_of_its_runs(store: Store, other: Store) -> None:
    lease = await started(store, "w1")
    mine, others = Heard(other, "worker:w1"), Heard(other, "worker:w2")
    await store.signal(lease.run_id, "go", b"1")
    await mine.something()
    assert set(mine.payloads) == {lease.run_id}
    mine.payloads.clear()
    await store.cancel(lease.run_id)
    await mine.something()
    assert set(mine.payloads) == {lease.run_id}
    assert others.payloads == []


async def test_a_watched_run_is_told_of(store: Store, other: Store) -> None:
    lease = await started(store)
    await other.watch(lease.run_id)
    heard = Heard(other, f"run:{lease.run_id}")
    await store.record([row(lease, 1)])
    await heard.something()
    assert await other.last_seq(lease.run_id) == 1
    await settle(store, lease)
    await heard.until(lambda: is_final(other, lease.run_id))


async def test_a_run_can_be_watched_from_its_birth(store: Store, other: Store) -> None:
    run = new(watch=True, lease_to="w")
    heard = Heard(other, f"run:{run.id}")
    (answer,) = await store.enqueue([run])
    assert answer.lease is not None
    await settle(store, answer.lease)
    await heard.until(lambda: is_final(other, run.id))


async def is_final(store: Store, run_id: str) -> bool:
    return (await store.get(run_id)).state.final


async def test_many_wake_ups_at_once_lose_none(store: Store, other: Store) -> None:
    """A listener that looks when it is told always sees the end."""
    leases = [await started(store, watch=True) for _ in range(30)]
    ears = [Heard(other, f"run:{lease.run_id}") for lease in leases]
    async with asyncio.TaskGroup() as group:
        for lease in leases:
            group.create_task(settle(store, lease))
        for lease, heard in zip(leases, ears, strict=True):
            group.create_task(heard.until(partial(is_final, other, lease.run_id)))
