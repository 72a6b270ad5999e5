"""Workers as real processes: killed, frozen, leaving (L1, L5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from perdure.core.run import RunState
from perdure.store import Store
from tests.contract.driver import (
    Child,
    Database,
    Heard,
    add,
    claim_one,
    info,
    settle,
    state_of,
)

pytestmark = pytest.mark.kill

LEASE = timedelta(seconds=2)
GRACE = timedelta(seconds=0.3)


def queued(store: Store, run_id: str) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return await state_of(store, run_id) is RunState.QUEUED

    return holds


async def test_a_killed_workers_runs_are_taken_over(database: Database, store: Store) -> None:
    heard = Heard(store, "work")
    run_id = await add(store)
    member = await store.join(info("watcher"), lease=LEASE, grace=GRACE)
    async with Child.joined(database, "victim", lease=LEASE, grace=GRACE) as victim:
        assert await victim.asked("claim 5") == run_id
        await victim.kill()
        await heard.until(queued(store, run_id))
    (worker,) = await store.workers()
    assert worker["id"] == "watcher"
    lease = await claim_one(store, "watcher")
    assert (lease.epoch, lease.gone, lease.alone) == (2, True, False)
    await member.leave()


async def test_a_worker_takes_over_what_died_before_it_came(
    database: Database, store: Store
) -> None:
    heard = Heard(store, "work")
    run_id = await add(store)
    async with Child.joined(database, "victim", lease=LEASE, grace=GRACE) as victim:
        assert await victim.asked("claim 5") == run_id
        await victim.kill()
    assert await state_of(store, run_id) is RunState.RUNNING
    member = await store.join(info("late"), lease=LEASE, grace=GRACE)
    await heard.until(queued(store, run_id))
    assert (await claim_one(store, "late")).gone
    await member.leave()


async def test_several_workers_die_at_once(database: Database, store: Store) -> None:
    heard = Heard(store, "work")
    runs = [await add(store) for _ in range(3)]
    async with (
        Child.joined(database, "a", lease=LEASE, grace=GRACE) as a,
        Child.joined(database, "b", lease=LEASE, grace=GRACE) as b,
        Child.joined(database, "c", lease=LEASE, grace=GRACE) as c,
    ):
        for child in (a, b, c):
            assert await child.asked("claim 1") in runs
        member = await store.join(info("survivor"), lease=LEASE, grace=GRACE)
        for child in (a, b, c):
            await child.kill()
        for run_id in runs:
            await heard.until(queued(store, run_id))
    assert [worker["id"] for worker in await store.workers()] == ["survivor"]
    await member.leave()


async def test_a_worker_that_leaves_is_no_death(database: Database, store: Store) -> None:
    run_id = await add(store)
    async with Child.joined(database, "leaver", lease=LEASE, grace=GRACE) as leaver:
        assert await leaver.asked("claim 5") == run_id
        assert await leaver.asked("leave") == "left"
        assert await state_of(store, run_id) is RunState.QUEUED
        assert await store.workers() == []
        assert await leaver.asked("holds") == "False"
    assert not (await claim_one(store)).gone


async def test_a_live_worker_keeps_its_runs(database: Database, store: Store) -> None:
    run_id = await add(store)
    member = await store.join(info("watcher"), lease=LEASE, grace=GRACE)
    async with Child.joined(database, "busy", lease=LEASE, grace=GRACE) as busy:
        assert await busy.asked("claim 5") == run_id
        assert await store.reap() == 0
        assert await busy.asked("holds") == "True"
        assert await state_of(store, run_id) is RunState.RUNNING
        ids = sorted(str(worker["id"]) for worker in await store.workers())
        assert ids == ["busy", "watcher"]
    await member.leave()


async def test_a_frozen_workers_lease_runs_out(database: Database, store: Store) -> None:
    run_id = await add(store)
    async with Child.joined(database, "frozen", lease=LEASE, grace=GRACE) as frozen:
        assert await frozen.asked("claim 5") == run_id
        frozen.freeze()
        assert await store.reap() == 0
        store.shift_clock(LEASE * 2)
        assert await store.reap() == 1
        lease = await claim_one(store, "other")
        assert (lease.epoch, lease.gone) == (2, False)  # it may still do things
        store.shift_clock(-LEASE * 2)

        frozen.thaw()
        assert await frozen.says() == "holds False"
        assert await frozen.says() == "holds True"
        assert "lost=True" in await frozen.asked(f"record {run_id} {lease.next_seq} 1")
        assert [worker["id"] for worker in await store.workers()] == ["frozen"]
    assert await settle(store, lease) is RunState.SUCCEEDED
