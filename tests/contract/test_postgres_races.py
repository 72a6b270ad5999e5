"""PostgreSQL only: statements that wait for each other, on real locks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from perdure.core.run import RunState
from perdure.errors import Conflict
from perdure.store import Store
from perdure.store.rows import Idempotency, Lease, NewRun, Settlement, Wait
from tests.contract.conftest import Postgres
from tests.contract.driver import (
    Database,
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


@pytest.fixture
async def database(postgres: Postgres) -> Database:
    return await postgres.database(empty=False)


@pytest.fixture
async def link(database: Database) -> AsyncIterator[Any]:
    """A connection beside the stores, to hold locks and to look."""
    connection = await asyncpg.connect(database.url)
    yield connection
    await connection.close()


Blocked = Callable[[int], Awaitable[None]]


@pytest.fixture
async def blocked(database: Database) -> AsyncIterator[Blocked]:
    """Returns when that many others wait for a lock."""
    watcher = await asyncpg.connect(database.url)

    async def until(count: int) -> None:
        async with asyncio.timeout(10):
            while (
                await watcher.fetchval(
                    "select count(*) from pg_stat_activity"
                    " where datname = current_database() and wait_event_type = 'Lock'"
                )
                < count
            ):
                pass

    yield until
    await watcher.close()


@pytest.fixture(autouse=True)
def no_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that loses a deadlock is not tried again but fails its test."""
    monkeypatch.setattr("perdure.store.postgres.link.DEADLOCKS", 1)


@asynccontextmanager
async def locked(link: Any, run_id: str) -> AsyncIterator[None]:
    """Hold a run's row."""
    async with link.transaction():
        await link.execute("select from perdure.runs where id = $1 for update", run_id)
        yield


async def test_a_zombie_that_waited_behind_a_claim_is_refused(
    store: Store, link: Any, blocked: Blocked
) -> None:
    old, bystander = await started(store, "zombie"), await started(store)
    await store.release("zombie")
    async with link.transaction():
        claimed = await link.fetch(
            "select epoch from perdure.claim('heir', array['default'], 10, true, null)"
        )
        assert [r["epoch"] for r in claimed] == [2]
        late = asyncio.create_task(store.record([row(old, 2), row(bystander, 1)]))
        await blocked(1)
    (refused,) = await late
    assert refused.lost
    assert refused.run_id == old.run_id
    assert await seqs(store, bystander.run_id) == [1]


async def test_a_claim_waits_for_a_late_writer_of_the_log(
    store: Store, link: Any, blocked: Blocked
) -> None:
    run_id = await add(store)
    async with link.transaction():
        await link.execute("select from perdure.runs where id = $1 for share", run_id)
        claiming = asyncio.create_task(claim_one(store))
        await blocked(1)
    assert (await claiming).run_id == run_id


async def test_a_row_that_stays_locked_does_not_hold_up_a_queue(store: Store, link: Any) -> None:
    stuck, free = await add(store), await add(store)
    async with locked(link, stuck):
        assert [lease.run_id for lease in await claim(store)] == [free]
    assert (await claim_one(store)).run_id == stuck


async def test_a_park_that_waited_behind_a_signal_sees_it(
    store: Store, link: Any, blocked: Blocked
) -> None:
    lease = await started(store)
    async with link.transaction():
        await link.execute("select perdure.signal($1, 'go', '1', null)", lease.run_id)
        parking = asyncio.create_task(park(store, lease, Wait("signal", "go")))
        await blocked(1)
    assert await parking is RunState.QUEUED


async def test_an_enqueue_that_waited_behind_a_session_sees_its_head(
    store: Store, other: Store, link: Any, blocked: Blocked
) -> None:
    # Held as by an enqueue that has not committed.
    async with link.transaction():
        await link.execute("select perdure.lock_all('session', array[$1])", "\x1f".join(("", "s")))
        first = asyncio.create_task(add(store, session="s"))
        await blocked(1)
        second = asyncio.create_task(add(other, session="s"))
        await blocked(2)
    assert await state_of(store, await first) is RunState.QUEUED
    assert await state_of(store, await second) is RunState.BLOCKED


async def test_an_enqueue_that_waited_behind_a_cap_counts_anew(
    store: Store, other: Store, link: Any, blocked: Blocked
) -> None:
    async with link.transaction():
        await link.execute("select perdure.lock_all('cap', array['c'])")
        first = asyncio.create_task(add(store, cap=("c", 1)))
        second = asyncio.create_task(add(other, cap=("c", 1)))
        await blocked(2)
    states = [await state_of(store, await each) for each in (first, second)]
    assert sorted(states) == [RunState.BLOCKED, RunState.QUEUED]


async def test_batches_in_opposite_order_do_not_deadlock(store: Store, other: Store) -> None:
    leases = [await started(store) for _ in range(40)]
    for n in range(1, 20):
        await asyncio.gather(
            store.record([row(lease, n) for lease in leases[::2]]),
            other.record([row(lease, n) for lease in leases[1::2]]),
            other.record([row(lease, n + 1000) for lease in reversed(leases)]),
            *(other.signal(lease.run_id, "go", b"1") for lease in leases[:3]),
            store.settle([Settlement(lease.run_id, 9, RunState.FAILED) for lease in leases]),
        )


async def test_more_sessions_and_caps_than_the_server_has_locks(store: Store) -> None:
    runs = [new(session=f"s{i}", cap=(f"c{i}", 1)) for i in range(8000)]
    answers = await store.enqueue(runs)
    assert {answer.state for answer in answers} == {RunState.QUEUED}


class Life:
    """Everything that can happen to runs, at random, from several workers at once."""

    def __init__(self, stores: tuple[Store, Store], seed: int) -> None:
        self.stores = stores
        self.random = random.Random(seed)
        self.leases: list[tuple[str, Lease]] = []
        self.runs: list[str] = []

    def run(self) -> NewRun:
        pick = self.random
        parent = pick.choice(self.runs) if self.runs and pick.random() < 0.2 else None
        return new(
            tenant=pick.choice(["", "t"]),
            session=pick.choice([None, "a", "b", "c"]),
            cap=pick.choice([None, ("x", 1), ("y", 3)]),
            priority=pick.randrange(3),
            parent=parent,
            delay=pick.choice([None, None, timedelta(milliseconds=5)]),
            idempotency=pick.choice([None, Idempotency(str(pick.randrange(50)), b"b")]),
            watch=pick.random() < 0.3,
        )

    async def act(self, store: Store, worker: str) -> None:
        pick = self.random
        what = pick.randrange(10)
        if what == 0 or not self.runs:
            runs = [self.run() for _ in range(pick.randrange(1, 6))]
            self.runs += [answer.id for answer in await store.enqueue(runs)]
        elif what <= 2:
            claimed = await store.claim(worker, ["default"], pick.randrange(1, 8), idle=True)
            self.leases += [(worker, lease) for lease in claimed.leases]
        elif what <= 5:
            await self.end(store)
        elif what == 6:
            await store.signal(pick.choice(self.runs), pick.choice("ab"), b"1")
        elif what == 7:
            await store.cancel(pick.choice(self.runs))
        elif what == 8:
            await store.redrive(pick.choice(self.runs))
        else:
            await store.wake_due(10)
            if pick.random() < 0.2:
                await store.release(worker)

    async def end(self, store: Store) -> None:
        pick = self.random
        pick.shuffle(self.leases)
        mine, self.leases = self.leases[:5], self.leases[5:]
        await store.record([row(lease, lease.next_seq) for _, lease in mine])
        given = []
        for _, lease in mine:
            state = pick.choice(
                [RunState.SUCCEEDED, RunState.FAILED, RunState.WAITING, RunState.QUEUED]
            )
            waits = (Wait("signal", pick.choice("ab")),) if state is RunState.WAITING else ()
            wake_in = timedelta(milliseconds=pick.randrange(20))
            given.append(
                Settlement(lease.run_id, lease.epoch, state, waits=waits, wake_in=wake_in,
                           records=(entry(),))
            )  # fmt: skip
        await store.settle(given)

    async def live(self, worker: int, acts: int) -> None:
        for _ in range(acts):
            try:
                await self.act(self.stores[worker % 2], f"w{worker}")
            except Conflict:
                pass


WRONG = {
    "a session with two heads": """
        select tenant, session from perdure.runs where head group by 1, 2 having count(*) > 1""",
    "a head that is final": "select id from perdure.runs where head and finished_at is not null",
    "a ready run of a session that is not its head": """
        select id from perdure.runs where state in ('queued', 'running')
        and session is not null and parent is null and not head""",
    "a cap over its limit": """
        select s.cap from perdure.slots s join perdure.runs r on r.id = s.run
        group by s.cap having count(*) > min(r.cap_limit)""",
    "a slot of a run that is neither queued nor running": """
        select r.id from perdure.slots s join perdure.runs r on r.id = s.run
        where r.state not in ('queued', 'running')""",
    "a ready run without its slot": """
        select id from perdure.runs r where state in ('queued', 'running')
        and cap is not null and parent is null
        and not exists (select from perdure.slots s where s.run = r.id and s.cap = r.cap)""",
    "a run blocked by a cap that has room": """
        select id from perdure.runs r where blocked_by = 'cap'
        and (select count(*) from perdure.slots s where s.cap = r.cap) < r.cap_limit""",
    "a run blocked by a session that nobody holds up": """
        select id from perdure.runs r where blocked_by = 'session' and not exists (
          select from perdure.runs o where o.tenant = r.tenant and o.session = r.session
          and o.parent is null and o.id <> r.id and o.finished_at is null
          and (o.n < r.n or o.head))""",
    "a reason without a block": """
        select id from perdure.runs where (state = 'blocked') <> (blocked_by is not null)""",
    "a lease of a run that does not run": """
        select id from perdure.runs where (state = 'running') <> (worker is not null)""",
    "a timer of a run that does not wait": """
        select id from perdure.runs where wake_at is not null and state <> 'waiting'""",
    "a log with a gap": """
        select run_id from perdure.log group by 1 having max(seq) <> count(*)""",
    "a signal that a waiting run did not see": """
        select r.id from perdure.runs r, jsonb_array_elements(r.waits) w, perdure.signals s
        where r.state = 'waiting' and s.run = r.id and s.name = w ->> 'name'
        and s.n > (w ->> 'after')::int""",
    "an idempotency key that ends before its run": """
        select i.key from perdure.idempotency i join perdure.runs r on r.id = i.run
        where (i.expires_at is null) <> (r.finished_at is null)""",
}


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_at_once_the_rules_hold(
    stores: tuple[Store, Store], link: Any, seed: int
) -> None:
    life = Life(stores, seed)
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        for worker in range(8):
            group.create_task(life.live(worker, 60))
    for what, sql in WRONG.items():
        assert await link.fetch(sql) == [], what
    # And everything that could go on does: nothing hangs behind something that is over.
    store = stores[0]
    store.shift_clock(timedelta(hours=1))
    for worker in range(8):
        await store.release(f"w{worker}")
    while True:
        await store.wake_due()
        leases = await claim(store)
        if not leases:
            break
        for lease in leases:
            await settle(store, lease)
    left = await link.fetch("select distinct state from perdure.runs where finished_at is null")
    assert {r["state"] for r in left} <= {"waiting"}, "only what waits for a signal is left"
    for what, sql in WRONG.items():
        assert await link.fetch(sql) == [], what
