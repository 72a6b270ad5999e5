"""Leasing: by priority, in turn between tenants, by age; each run to one worker."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from perdure.core.run import RunState
from perdure.store import Store
from tests.contract.driver import add, claim, claim_one, entry, new, row, settle


async def names(store: Store, limit: int = 100, queues: tuple[str, ...] = ("default",)) -> str:
    """The labels of the runs that are claimed now, in order."""
    claimed = await store.claim("w", queues, limit, idle=True)
    return " ".join(lease.labels["name"] for lease in claimed.leases)


async def named(store: Store, text: str, **fields: object) -> None:
    """Add runs, named by the words of ``text``."""
    await store.enqueue([new(labels={"name": word}, **fields) for word in text.split()])


async def test_priority_goes_before_age(store: Store) -> None:
    await named(store, "a b", priority=0)
    await named(store, "c d", priority=5)
    await named(store, "e", priority=-5)
    assert await names(store, 3) == "c d a"
    assert await names(store) == "b e"


async def test_a_lease_tells_its_runs_priority(store: Store) -> None:
    await named(store, "a", priority=7)
    (lease,) = (await store.claim("w", ["default"], 1, idle=True)).leases
    assert lease.priority == 7
    (answer,) = await store.enqueue([new(lease_to="w", priority=-3)])
    assert answer.lease is not None
    assert answer.lease.priority == -3


async def test_tenants_take_turns(store: Store) -> None:
    await named(store, "a1 a2 a3 a4", tenant="a")
    await named(store, "b1 b2", tenant="b")
    await named(store, "c1", tenant="c")
    assert await names(store, 6) == "a1 b1 c1 a2 b2 a3"
    await named(store, "b3", tenant="b")
    assert await names(store) == "a4 b3"


async def test_a_full_tenant_does_not_hold_up_another(store: Store) -> None:
    await store.enqueue([new(tenant="big", labels={"name": "x"}) for _ in range(300)])
    await named(store, "late", tenant="small")
    assert (await names(store, 2)) == "x late"


async def test_turns_are_taken_within_a_priority(store: Store) -> None:
    await named(store, "a1 a2", tenant="a", priority=1)
    await named(store, "b1", tenant="b", priority=0)
    await named(store, "c1", tenant="c", priority=1)
    assert await names(store) == "a1 c1 a2 b1"


async def test_only_the_queues_asked_for(store: Store) -> None:
    await named(store, "a", queue="x")
    await named(store, "b", queue="y")
    await named(store, "c", queue="z")
    await named(store, "d", queue="y", priority=1)
    assert await names(store, queues=("y", "z", "y")) == "d b c"
    assert await names(store, queues=("none",)) == ""
    assert await names(store, queues=("x",)) == "a"


async def test_a_limit_of_nothing(store: Store) -> None:
    await add(store)
    assert await claim(store, limit=0) == []


async def test_every_claim_raises_the_epoch(store: Store) -> None:
    run_id = await add(store)
    first = await claim_one(store, "w1")
    assert (first.epoch, first.next_seq) == (1, 1)
    begun = (await store.get(run_id)).started_at
    await store.record([row(first, 1), row(first, 2)])
    await settle(store, first, RunState.QUEUED, attempts=2, records=(entry(),))

    second = await claim_one(store, "w2")
    assert (second.epoch, second.next_seq, second.attempts) == (2, 4, 2)
    assert second.gone
    run = await store.get(run_id)
    assert (run.worker, run.state, run.epoch) == ("w2", RunState.RUNNING, 2)
    assert run.started_at == begun


async def test_a_hop_goes_behind_those_that_wait(store: Store) -> None:
    await named(store, "a b")
    (lease,) = await claim(store, limit=1)
    store.shift_clock(timedelta(seconds=1))
    await settle(store, lease, RunState.QUEUED)
    assert await names(store) == "b a"


async def test_two_claimers_share_the_runs(store: Store, other: Store) -> None:
    await store.enqueue([new(tenant=f"t{i % 3}") for i in range(150)])
    rounds = await asyncio.gather(
        *(claim(s, f"w{n}", limit=7) for _ in range(13) for n, s in enumerate((store, other)))
    )
    got = [lease.run_id for leases in rounds for lease in leases]
    assert len(got) == 150
    assert len(set(got)) == 150


async def test_the_lease_tells_the_stores_time(store: Store) -> None:
    await add(store)
    before = await store.now()
    lease = await claim_one(store)
    assert before <= lease.now <= await store.now()
    store.shift_clock(timedelta(days=1))
    assert await store.now() >= lease.now + timedelta(days=1)
