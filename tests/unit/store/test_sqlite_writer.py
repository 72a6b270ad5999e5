"""The writing thread: group commit, savepoints, waiting for other processes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.errors import IdempotencyMismatch, StoreUnavailable
from perdure.store.rows import Idempotency, Refusal
from perdure.store.sqlite import SqliteStore, writer
from perdure.store.sqlite.writer import Transaction
from tests.contract.driver import Heard, add, entry, new, row, settle, started


@pytest.fixture
def rival(path: Path, store: SqliteStore) -> Iterator[sqlite3.Connection]:
    """Another process's connection."""
    link = sqlite3.connect(path, isolation_level=None)
    yield link
    link.close()


def commits(path: Path) -> int:
    """A number that grows by one with every commit that changed something: frames in the log
    with a database size, see https://sqlite.org/fileformat2.html#the_write_ahead_log."""
    data = path.with_name(path.name + "-wal").read_bytes()
    frames = range(32, len(data), 24 + 4096)
    return sum(data[i + 4 : i + 8] != b"\0\0\0\0" for i in frames)


async def test_what_waits_goes_into_one_commit(
    store: SqliteStore, rival: sqlite3.Connection, path: Path
) -> None:
    rival.execute("BEGIN IMMEDIATE")
    first = asyncio.create_task(store.enqueue([new()]))
    rest = [asyncio.create_task(store.enqueue([new()])) for _ in range(50)]
    await asyncio.sleep(0)
    before = commits(path)
    rival.execute("ROLLBACK")
    await asyncio.gather(first, *rest)
    assert commits(path) - before <= 2
    (queue,) = await store.stats()
    assert queue.states == {"queued": 51}


async def test_a_write_that_fails_takes_back_only_itself(
    store: SqliteStore, rival: sqlite3.Connection
) -> None:
    await store.enqueue([new(idempotency=Idempotency("k", b"1"))])
    heard = Heard(store, "work")
    rival.execute("BEGIN IMMEDIATE")
    runs = [new(queue=f"q{i}") for i in range(9)]
    bad = new(queue="bad", idempotency=Idempotency("k", b"2"))
    calls = [
        asyncio.create_task(store.enqueue([run] if i != 4 else [run, bad]))
        for i, run in enumerate(runs)
    ]
    await asyncio.sleep(0)
    rival.execute("ROLLBACK")
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(answer, IdempotencyMismatch) for answer in done].count(True) == 1
    assert isinstance(done[4], IdempotencyMismatch)
    queues = {queue.queue for queue in await store.stats()}
    assert queues == {"default", *(f"q{i}" for i in range(9) if i != 4)}
    await heard.something()
    assert set(heard.payloads) == queues - {"default"}


async def test_what_a_failing_write_wrote_is_taken_back(
    store: SqliteStore, rival: sqlite3.Connection
) -> None:
    run_id = await add(store)

    def change(tx: Transaction) -> None:
        tx.run("UPDATE runs SET agent = 'changed'")
        raise LookupError

    for crowd in (0, 2):  # in a transaction of its own, and merged with others
        rival.execute("BEGIN IMMEDIATE")
        calls = [
            asyncio.create_task(store._writer.write(change)),
            *(asyncio.create_task(add(store)) for _ in range(crowd)),
        ]
        await asyncio.sleep(0)
        rival.execute("ROLLBACK")
        failed, *others = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(failed, LookupError)
        assert all(isinstance(other, str) for other in others)
        assert (await store.get(run_id)).agent == "agent"


async def test_a_mistake_in_a_write_is_the_callers(store: SqliteStore) -> None:
    def mistaken(tx: Transaction) -> None:
        tx.run("INSERT INTO nothing VALUES (1)")

    with pytest.raises(sqlite3.OperationalError):
        await store._writer.write(mistaken)
    await add(store)


async def test_a_lock_held_too_long_is_said(
    store: SqliteStore, rival: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "BUSY_S", 0.02)
    rival.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked by another process"):
        await add(store)
    rival.execute("ROLLBACK")
    await add(store)


async def test_reading_does_not_wait_for_a_writer(
    store: SqliteStore, rival: sqlite3.Connection
) -> None:
    run_id = await add(store)
    rival.execute("BEGIN IMMEDIATE")
    rival.execute("UPDATE runs SET agent = 'changed'")
    assert (await store.get(run_id)).agent == "agent"
    rival.execute("ROLLBACK")


async def test_a_record_that_waited_for_a_claim_sees_the_new_epoch(
    store: SqliteStore, rival: sqlite3.Connection
) -> None:
    """The race of L2, waiting on the real lock: the zombie's rows come first and are written
    after the claim commits."""
    lease = await started(store)
    rival.execute("BEGIN IMMEDIATE")
    late = [
        asyncio.create_task(store.record([row(lease, 1)])),
        asyncio.create_task(store.record([row(lease, 1, entry(b"other"))])),
    ]
    end = asyncio.create_task(settle(store, lease))
    await asyncio.sleep(0)
    rival.execute("UPDATE runs SET epoch = 2 WHERE id = ?", (lease.run_id,))
    rival.execute("COMMIT")
    for refused in await asyncio.gather(*late):
        assert refused == [Refusal(lease.run_id, 1, True, 0)]
    assert await end is None
    assert await store.events(lease.run_id) == []


async def test_a_caller_that_gives_up_harms_nobody(
    store: SqliteStore, rival: sqlite3.Connection
) -> None:
    rival.execute("BEGIN IMMEDIATE")
    impatient, patient = (asyncio.create_task(add(store)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    rival.execute("ROLLBACK")
    assert (await store.get(await patient)).state == "queued"


def test_many_rows_are_inserted_however_many() -> None:
    link = sqlite3.connect(":memory:", isolation_level=None)
    link.execute("CREATE TABLE t (a, b)")
    tx = Transaction(link, 0)
    for count in (0, 1, 7, 8, 9, 31, 200):
        link.execute("DELETE FROM t")
        rows = [(i, str(i)) for i in range(count)]
        tx.insert("INSERT INTO t (a, b)", 2, rows)
        assert tx.all("SELECT a, b FROM t ORDER BY a") == rows
    link.close()


def test_a_crowded_interpreter_gets_larger_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    link = sqlite3.connect(":memory:", isolation_level=None)
    link.execute("CREATE TABLE t (a, b)")
    statements: list[str] = []
    link.set_trace_callback(statements.append)
    tx = Transaction(link, 0)
    rows = [(i, i) for i in range(300)]
    tx.insert("INSERT INTO t (a, b)", 2, rows)
    quiet = len(statements)
    statements.clear()
    monkeypatch.setattr(writer, "CROWDED_S", -1.0)
    tx.insert("INSERT INTO t (a, b)", 2, rows)
    assert quiet > 30
    assert len(statements) <= 5
    link.close()
