"""The fence of the recommended journal statement, on a real PostgreSQL with waits on real locks."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from bench.journal_shapes import SCHEMA, Entry, tiny_entry
from tests.servers import PostgresServer, offered

RECORD = "select * from record($1::entry[])"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with offered(PostgresServer()) as postgres:
        yield postgres


@pytest.fixture
async def links(server: PostgresServer) -> AsyncIterator[list[Any]]:
    dsn = server.dsn(server.create_database())
    found = [await asyncpg.connect(dsn) for _ in range(3)]
    await found[0].execute(SCHEMA)
    yield found
    for link in found:
        await link.close()


async def running(link: Any, *, epoch: int = 1) -> uuid.UUID:
    run = uuid.uuid4()
    await link.execute(
        "insert into runs (id, agent, tenant, queue, shape, state, epoch)"
        " values ($1, 'a', '', 'default', 'batch', 'running', $2)",
        run,
        epoch,
    )
    return run


async def waits(watcher: Any, blocked: Any) -> None:
    """Return when the connection waits for another's lock."""
    async with asyncio.timeout(10):
        while not await watcher.fetchval(
            "select cardinality(pg_blocking_pids($1))", blocked.get_server_pid()
        ):
            pass


async def log_of(link: Any, run: uuid.UUID) -> list[tuple[int, int]]:
    found = await link.fetch("select seq, epoch from log where run_id = $1 order by seq", run)
    return [tuple(row) for row in found]


def at_epoch(entry: Entry, epoch: int) -> Entry:
    return (*entry[:2], epoch, *entry[3:])


async def test_what_is_written_is_not_returned(links: list[Any]) -> None:
    link = links[0]
    runs = [await running(link) for _ in range(3)]
    assert await link.fetch(RECORD, [tiny_entry(run, seq) for run in runs for seq in (1, 2)]) == []
    assert [await log_of(link, run) for run in runs] == [[(1, 1), (2, 1)]] * 3


async def test_a_zombie_that_waited_behind_a_claim_is_refused(links: list[Any]) -> None:
    claimer, zombie, watcher = links
    run, bystander = await running(claimer), await running(claimer)
    claim = claimer.transaction()
    await claim.start()
    await claimer.execute("update runs set epoch = 2 where id = $1", run)
    batch = [tiny_entry(run, 1), tiny_entry(bystander, 1)]
    late = asyncio.create_task(zombie.fetch(RECORD, batch))
    await waits(watcher, zombie)
    await claim.commit()
    assert [tuple(row) for row in await late] == [(run, 1, False, None)]
    assert await log_of(watcher, run) == []
    assert await log_of(watcher, bystander) == [(1, 1)]


async def test_a_claim_waits_for_the_entries_of_the_lease_before(links: list[Any]) -> None:
    owner, claimer, watcher = links
    run = await running(owner)
    write = owner.transaction()
    await write.start()
    assert await owner.fetch(RECORD, [tiny_entry(run, 1)]) == []
    raised = asyncio.create_task(claimer.execute("update runs set epoch = 2 where id = $1", run))
    await waits(watcher, claimer)
    await write.commit()
    await raised
    assert await log_of(claimer, run) == [(1, 1)]
    assert (await owner.fetchrow(RECORD, [tiny_entry(run, 2)]))["held"] is False


async def test_a_claim_that_was_rolled_back_refuses_nobody(links: list[Any]) -> None:
    claimer, owner, watcher = links
    run = await running(claimer)
    claim = claimer.transaction()
    await claim.start()
    await claimer.execute("update runs set epoch = 2 where id = $1", run)
    late = asyncio.create_task(owner.fetch(RECORD, [tiny_entry(run, 1)]))
    await waits(watcher, owner)
    await claim.rollback()
    assert await late == []
    assert await log_of(watcher, run) == [(1, 1)]


async def test_an_old_and_a_new_lease_in_one_batch(links: list[Any]) -> None:
    link = links[0]
    run = await running(link, epoch=2)
    batch = [tiny_entry(run, 1), at_epoch(tiny_entry(run, 2), 2)]
    assert [tuple(row) for row in await link.fetch(RECORD, batch)] == [(run, 1, False, None)]
    assert await log_of(link, run) == [(2, 2)]


async def test_a_run_that_does_not_run_is_refused(links: list[Any]) -> None:
    link = links[0]
    run = await running(link)
    await link.execute("update runs set state = 'waiting' where id = $1", run)
    assert (await link.fetchrow(RECORD, [tiny_entry(run, 1)]))["held"] is False
    assert (await link.fetchrow(RECORD, [tiny_entry(uuid.uuid4(), 1)]))["held"] is False


async def test_a_taken_seq_refuses_that_run_whole_and_says_where_to_go_on(links: list[Any]) -> None:
    owner, signaller, watcher = links
    run, bystander = await running(owner), await running(owner)
    assert await owner.fetch(RECORD, [tiny_entry(run, 1)]) == []
    signal = signaller.transaction()
    await signal.start()
    await signaller.execute("select from runs where id = $1 for update", run)
    await signaller.execute(
        "insert into log (run_id, seq, epoch, type)"
        " select $1, max(seq) + 1, 1, 'signal' from log where run_id = $1",
        run,
    )
    batch = [tiny_entry(run, 2), tiny_entry(run, 3), tiny_entry(bystander, 1)]
    late = asyncio.create_task(owner.fetch(RECORD, batch))
    await waits(watcher, owner)
    await signal.commit()
    assert [tuple(row) for row in await late] == [(run, 2, True, 2), (run, 3, True, 2)]
    assert await log_of(watcher, bystander) == [(1, 1)]
    assert await owner.fetch(RECORD, [tiny_entry(run, 3), tiny_entry(run, 4)]) == []
    types = await watcher.fetch("select type from log where run_id = $1 order by seq", run)
    assert [row["type"] for row in types] == ["effect", "signal", "effect", "effect"]


async def test_a_batch_whose_answer_was_lost_can_be_sent_again(links: list[Any]) -> None:
    link = links[0]
    run, other = await running(link), await running(link)
    batch = [tiny_entry(run, 1), tiny_entry(run, 2)]
    assert await link.fetch(RECORD, batch) == []
    assert await link.fetch(RECORD, [*batch, tiny_entry(run, 3), tiny_entry(other, 1)]) == []
    assert await log_of(link, run) == [(1, 1), (2, 1), (3, 1)]


async def test_watched_runs_are_announced(links: list[Any]) -> None:
    owner, listener, _ = links
    watched, unwatched = await running(owner), await running(owner)
    await owner.execute(
        "update runs set watched_until = clock_timestamp() + interval '1 minute' where id = $1",
        watched,
    )
    told: asyncio.Queue[str] = asyncio.Queue()
    await listener.add_listener("perdure", lambda *heard: told.put_nowait(heard[3]))
    assert await owner.fetch(RECORD, [tiny_entry(unwatched, 1), tiny_entry(watched, 1)]) == []
    assert await asyncio.wait_for(told.get(), 10) == f"run:{watched}"
    assert await owner.fetch(RECORD, [tiny_entry(watched, 2)]) == []
    assert await asyncio.wait_for(told.get(), 10) == f"run:{watched}"
    assert told.empty()


async def test_two_batches_over_the_same_runs_do_not_deadlock(links: list[Any]) -> None:
    one, two, settler = links
    runs = [await running(one) for _ in range(50)]
    settlements = [(run, 1, "succeeded", b"{}", None, None, 1000, None) for run in runs]
    first = [[tiny_entry(run, seq) for run in runs] for seq in range(20)]
    second = [[tiny_entry(run, seq) for run in reversed(runs)] for seq in range(20, 40)]

    async def write(link: Any, batches: list[list[Entry]]) -> None:
        for batch in batches:
            assert all(not row["held"] for row in await link.fetch(RECORD, batch))

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(write(one, first))
        group.create_task(write(two, second))
        group.create_task(settler.fetch("select settle($1::settlement[])", settlements))
    states = await one.fetch("select distinct state from runs")
    assert [row["state"] for row in states] == ["succeeded"]
