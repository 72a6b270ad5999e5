"""Timers, the leader, dead workers and poison runs (L5, L6)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from perdure.core.run import RunState
from perdure.store import Store
from perdure.store.rows import Wait
from tests.contract.driver import (
    add,
    claim,
    claim_one,
    info,
    new,
    park,
    row,
    settle,
    started,
    state_of,
    statuses,
)

LEASE = timedelta(seconds=30)

# -- timers ---------------------------------------------------------------------------------------


async def test_timers_wake_in_portions(store: Store) -> None:
    await store.enqueue([new(delay=timedelta(seconds=i)) for i in range(1, 6)])
    none = await store.wake_due()
    assert (none.count, none.next_in is not None) == (0, True)
    store.shift_clock(timedelta(seconds=4.5))
    first = await store.wake_due(limit=3)
    assert (first.count, first.next_in) == (3, timedelta(0))
    second = await store.wake_due(limit=3)
    assert second.count == 1
    assert second.next_in is not None
    assert timedelta(0) < second.next_in <= timedelta(seconds=0.5)
    store.shift_clock(timedelta(seconds=1))
    last = await store.wake_due()
    assert (last.count, last.next_in) == (1, None)
    assert len(await claim(store)) == 5


async def test_two_processes_wake_a_run_once(store: Store, other: Store) -> None:
    await store.enqueue([new(delay=timedelta(0)) for _ in range(20)])
    counts = await asyncio.gather(*(s.wake_due(limit=5) for s in (store, other) * 4))
    assert sum(woken.count for woken in counts) == 20


# -- the leader -----------------------------------------------------------------------------------


async def test_one_leads(store: Store, other: Store) -> None:
    ttl = timedelta(seconds=10)
    won = await asyncio.gather(store.lead("w1", ttl), other.lead("w2", ttl))
    assert sorted(won) == [False, True]
    leader, follower = ("w1", "w2") if won[0] else ("w2", "w1")
    assert await store.lead(leader, ttl)
    store.shift_clock(timedelta(seconds=8))
    assert not await store.lead(follower, ttl)
    assert await store.lead(leader, ttl)
    store.shift_clock(timedelta(seconds=8))
    assert not await store.lead(follower, ttl)
    store.shift_clock(timedelta(seconds=3))
    assert await store.lead(follower, ttl)
    assert not await store.lead(leader, ttl)


async def test_a_leader_that_leaves_is_followed_at_once(store: Store) -> None:
    membership = await store.join(info("w1"), lease=LEASE)
    ttl = timedelta(hours=1)
    assert await store.lead("w1", ttl)
    assert not await store.lead("w2", ttl)
    await membership.leave()
    assert await store.lead("w2", ttl)


async def test_a_dead_leader_is_followed_at_once(store: Store) -> None:
    assert await store.lead("w1", timedelta(hours=1))
    await store.release("w1")
    assert await store.lead("w2", timedelta(hours=1))


# -- dead workers ---------------------------------------------------------------------------------


async def test_a_dead_workers_runs_are_queued_again(store: Store) -> None:
    mine, theirs = await started(store, "w1"), await started(store, "w2")
    parked = await started(store, "w1")
    await park(store, parked, Wait("signal", "go"))
    assert await store.release("w1") == 1
    assert await store.release("w1") == 0
    assert await statuses(store, mine.run_id) == [("queued", "orphaned")]
    assert await state_of(store, theirs.run_id) is RunState.RUNNING
    assert await state_of(store, parked.run_id) is RunState.WAITING
    again = await claim_one(store, "w3")
    assert (again.run_id, again.epoch, again.gone, again.attempts) == (mine.run_id, 2, True, 0)
    assert again.next_seq == 2


async def test_strangers_runs_are_reaped(store: Store) -> None:
    member = await store.join(info("w1"), lease=LEASE)
    kept, stray = await started(store, "w1"), await started(store, "stranger")
    assert await store.reap() == 1
    assert await state_of(store, kept.run_id) is RunState.RUNNING
    again = await claim_one(store, "w1")
    assert again.run_id == stray.run_id
    assert not again.gone  # nothing proves that the stranger's process ended
    await member.leave()


async def test_the_members_are_listed(store: Store, other: Store) -> None:
    member = await other.join(info("w1"), lease=LEASE)
    await started(store, "w1")
    (worker,) = await store.workers()
    assert {k: worker[k] for k in ("id", "host", "version", "queues", "lease_s", "runs")} == {
        "id": "w1", "host": "host", "version": "0", "queues": ["default"], "lease_s": 30.0,
        "runs": 1,
    }  # fmt: skip
    assert worker["joined_at"]
    assert worker["seen_at"]
    await member.leave()
    assert await store.workers() == []


async def test_the_runs_of_a_worker_that_leaves_are_queued_without_a_strike(store: Store) -> None:
    run_id = await add(store)
    for n in range(4):
        member = await store.join(info(f"w{n}"), lease=LEASE)
        assert member.holds
        lease = await claim_one(store, f"w{n}")
        assert (lease.run_id, lease.alone) == (run_id, False)
        assert lease.gone == (n == 0)  # it says so itself, while its process lives
        await member.leave()
        assert not member.holds


# -- poison (L6) ----------------------------------------------------------------------------------


async def test_a_run_that_kills_its_workers_is_executed_alone_and_then_dead(store: Store) -> None:
    run_id = await add(store)
    for n in (1, 2):
        lease = await claim_one(store, f"w{n}")
        assert not lease.alone
        await store.release(f"w{n}")
    lease = await claim_one(store, "w3")
    assert (lease.run_id, lease.alone) == (run_id, True)
    await store.release("w3")
    run = await store.get(run_id)
    assert (run.state, run.epoch) == (RunState.DEAD, 3)
    assert run.error is not None
    assert run.finished_at is not None
    assert (await statuses(store, run_id))[-1] == ("dead", "poison")

    await store.redrive(run_id)
    assert (await claim_one(store, "w4")).alone
    await store.release("w4")
    assert await state_of(store, run_id) is RunState.DEAD


async def test_a_run_that_goes_forward_is_not_blamed(store: Store) -> None:
    await add(store)
    for n in range(6):
        lease = await claim_one(store, f"w{n}")
        assert not lease.alone
        assert await store.record([row(lease, lease.next_seq)]) == []
        await store.release(f"w{n}")
    assert not (await claim_one(store)).alone


async def test_progress_while_alone_clears_a_run(store: Store) -> None:
    run_id = await add(store)
    for n in (1, 2):
        await claim_one(store, f"w{n}")
        await store.release(f"w{n}")
    lease = await claim_one(store, "w3")
    await store.record([row(lease, lease.next_seq)])
    await store.release("w3")
    again = await claim_one(store, "w4")
    assert (again.run_id, again.alone) == (run_id, False)


async def poisoned(store: Store, **fields: object) -> str:
    run_id = await add(store, **fields)
    for n in (1, 2):
        await claim_one(store, f"p{n}")
        await store.release(f"p{n}")
    return run_id


async def test_a_busy_worker_keeps_a_lone_run_until_it_is_idle(store: Store) -> None:
    lone = await poisoned(store)
    common = await add(store)
    first = await store.claim("w", ["default"], 10, idle=False)
    assert first == ([], True)
    assert await store.claim("w", ["default"], 10, idle=False) == ([], True)
    # Nobody else gets it, and the others go on.
    elsewhere = await store.claim("v", ["default"], 10, idle=True)
    assert [lease.run_id for lease in elsewhere.leases] == [common]
    assert not elsewhere.reserved

    late = await add(store)
    (lease,), reserved = await store.claim("w", ["default"], 10, idle=True)
    assert (lease.run_id, lease.alone, reserved) == (lone, True, False)
    assert await store.claim("w", ["default"], 10, idle=False) == ([], True)
    await settle(store, lease)
    (common_lease,), reserved = await store.claim("w", ["default"], 10, idle=True)
    assert (common_lease.run_id, reserved) == (late, False)


async def test_what_is_before_a_lone_run_goes_first(store: Store) -> None:
    lone = await poisoned(store)
    first = await add(store, priority=1)
    (lease,), reserved = await store.claim("w", ["default"], 10, idle=True)
    assert (lease.run_id, reserved) == (first, True)
    await settle(store, lease)
    assert (await claim_one(store)).run_id == lone


async def test_a_reservation_ends_with_its_worker(store: Store) -> None:
    lone = await poisoned(store)
    assert (await store.claim("w", ["default"], 10, idle=False)).reserved
    assert await claim(store, "v") == []
    await store.release("w")
    lease = await claim_one(store, "v")
    assert (lease.run_id, lease.alone) == (lone, True)


async def test_a_strangers_reservation_is_reaped(store: Store) -> None:
    lone = await poisoned(store)
    assert (await store.claim("w", ["default"], 10, idle=False)).reserved
    await store.reap()
    assert (await claim_one(store, "v")).run_id == lone


# -- statistics -----------------------------------------------------------------------------------


async def test_queues_are_counted(store: Store) -> None:
    await store.enqueue([new(queue="a") for _ in range(3)])
    await store.enqueue([new(queue="b", session="s") for _ in range(2)])
    lease = await started(store, queue="b")
    await settle(store, lease, RunState.FAILED)
    store.shift_clock(timedelta(minutes=1))
    a, b = await store.stats()
    assert (a.queue, a.states) == ("a", {"queued": 3})
    assert (b.queue, b.states) == ("b", {"queued": 1, "blocked": 1, "failed": 1})
    assert a.oldest_ready is not None
    assert timedelta(minutes=1) <= a.oldest_ready < timedelta(minutes=2)
    await store.claim("w", ["a"], 10, idle=True)
    assert (await store.stats())[0].oldest_ready is None
