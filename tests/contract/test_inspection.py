"""What should not be is found, explained, and mended where that is safe."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

import asyncpg
import pytest

from perdure.core.run import RunState
from perdure.store import Store
from perdure.store.inspection import EXPLAINED, Finding
from perdure.store.retention import Doomed
from perdure.store.rows import Idempotency, Message, NextGeneration, Wait
from tests.contract.driver import (
    Database,
    add,
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
GONE = "6c7c1f9e-2f36-4f3a-9d8e-1f1f1f1f1f1f"


async def break_it(database: Database, sql: str) -> None:
    """Do to the tables what nobody should. Written for SQLite: ``runs`` is ``perdure.runs`` on
    the other, and a run is its id there."""
    if database.url.startswith("sqlite:"):
        link = sqlite3.connect(database.url.removeprefix("sqlite:///"), isolation_level=None)
        link.execute("PRAGMA foreign_keys = 0")
        assert link.execute(sql).rowcount != 0, sql
        link.close()
        return
    for name in ("runs", "log", "signals", "slots", "idempotency", "messages"):
        sql = sql.replace(f" {name} ", f" perdure.{name} ")
    sql = sql.replace("log WHERE run =", "log WHERE run_id =")
    sql = sql.replace("SELECT n FROM", "SELECT id FROM")
    sql = sql.replace("head = 1", "head = true")
    server = await asyncpg.connect(database.url)
    done = await server.execute(sql)
    await server.close()
    assert not done.endswith(" 0"), (sql, done)


async def found(store: Store) -> list[tuple[str, str, str]]:
    return [tuple(finding) for finding in await store.inspect()]  # type: ignore[misc]


async def mended(store: Store) -> list[bool]:
    """Mend all there is; afterwards nothing is left."""
    done = [await store.mend(finding) for finding in await store.inspect()]
    while (await store.clear()).left:
        pass
    return done


async def held(store: Store, worker: str = "w") -> None:
    await store.join(info(worker), lease=LEASE)


async def test_a_store_in_use_is_found_whole(store: Store) -> None:
    await held(store)
    key = Idempotency("k", b"body")
    running = await started(store, session="s", cap=("c", 1), idempotency=key)
    await store.record([row(running, n) for n in range(1, 5)])
    await add(store, session="s")
    await add(store, cap=("c", 1))
    await add(store, delay=timedelta(hours=1))
    parent, parked, asking = await started(store), await started(store), await started(store)
    child = await started(store, parent=parent.run_id, depth=1)
    await park(store, parent, Wait("run", f"run:{child.run_id}"))
    await park(store, parked, Wait("signal", "go"))
    await park(store, asking, Wait("uncertain", key="00"))
    again = await started(store)
    await store.record([row(again, 1)])
    await settle(store, again, RunState.QUEUED, next=NextGeneration(b"2"))
    await store.trim(0, await store.now() + LEASE)
    await settle(store, await started(store))
    assert await found(store) == []


async def test_every_finding_is_explained() -> None:
    for about in EXPLAINED.values():
        assert about.meaning.endswith(".")
        assert bool(about.repair) != bool(about.advice)


async def test_a_lease_of_no_member(store: Store) -> None:
    lease = await started(store, "nobody")
    assert await found(store) == [("stranger", lease.run_id, "nobody")]
    assert await mended(store) == [True]
    assert await state_of(store, lease.run_id) is RunState.QUEUED
    assert await statuses(store, lease.run_id) == [("queued", "orphaned")]
    assert await found(store) == []


async def test_a_final_run_that_names_a_worker(database: Database, store: Store) -> None:
    await held(store)
    lease = await started(store)
    await settle(store, lease)
    await break_it(database, f"UPDATE runs SET worker = 'w' WHERE id = '{lease.run_id}'")
    assert await found(store) == [("holder_of_final", lease.run_id, "w")]
    assert await mended(store) == [True]
    assert await found(store) == []


async def test_a_final_run_that_holds_its_session(database: Database, store: Store) -> None:
    await held(store)
    lease = await started(store, session="s")
    behind = await add(store, session="s")
    await break_it(
        database,
        "UPDATE runs SET state = 'cancelled', worker = NULL, finished_at = created_at"
        f" WHERE id = '{lease.run_id}'",
    )
    assert (await found(store))[0] == ("head_of_final", lease.run_id, "s")
    assert (await mended(store))[0]
    assert await state_of(store, behind) is RunState.QUEUED
    assert await found(store) == []


async def test_slots(database: Database, store: Store) -> None:
    await held(store)
    over = await started(store, cap=("c", 1))
    behind = await add(store, cap=("c", 1))
    await break_it(
        database,
        "UPDATE runs SET state = 'cancelled', worker = NULL, finished_at = created_at"
        f" WHERE id = '{over.run_id}'",
    )
    assert await found(store) == [("slot_of_idle", over.run_id, "c")]
    assert await mended(store) == [True]
    assert await state_of(store, behind) is RunState.QUEUED
    assert await found(store) == []
    third = await add(store, cap=("c", 1))
    await break_it(database, "DELETE FROM slots WHERE cap = 'c'")
    assert sorted(await found(store)) == [
        ("blocked_for_nothing", third, "cap"), ("slot_missing", behind, "c"),
    ]  # fmt: skip
    await mended(store)
    assert await found(store) == []


async def test_a_run_whose_blocker_is_gone(database: Database, store: Store) -> None:
    first = await add(store, session="s")
    behind = await add(store, session="s")
    await break_it(database, f"DELETE FROM runs WHERE id = '{first}'")
    assert await found(store) == [("blocked_for_nothing", behind, "session")]
    assert await mended(store) == [True]
    assert await state_of(store, behind) is RunState.QUEUED
    assert await statuses(store, behind) == [("queued", "checked")]
    assert await found(store) == []


async def test_waits(database: Database, store: Store) -> None:
    await held(store)
    parents = [await started(store) for _ in range(3)]
    child = await started(store, parent=parents[1].run_id, depth=1)
    await park(store, parents[0], Wait("signal", "go"))
    await park(store, parents[1], Wait("run", f"run:{child.run_id}"))
    await park(store, parents[2], Wait("run", f"run:{GONE}"))
    nothing = await started(store)
    await park(store, nothing)
    await settle(store, child, result=b'"done"')
    # As if the signals had come without waking anyone, or not at all.
    woken = parents[1].run_id
    lost = f'[{{"reason":"run","name":"run:{child.run_id}","after":0}}]'
    await break_it(database, "DELETE FROM signals WHERE n = 1")
    await break_it(
        database, f"UPDATE runs SET state = 'waiting', waits = '{lost}' WHERE id = '{woken}'"
    )
    await store.signal(parents[0].run_id, "go", b"1")
    wait = '[{"reason":"signal","name":"go","after":0}]'
    await break_it(
        database,
        f"UPDATE runs SET state = 'waiting', waits = '{wait}' WHERE id = '{parents[0].run_id}'",
    )
    assert sorted(await found(store)) == sorted(
        [
            ("missed_signal", parents[0].run_id, "go"),
            ("missed_child", woken, child.run_id),
            ("lost_child", parents[2].run_id, GONE),
            ("waits_for_nothing", nothing.run_id, "[]"),
        ]
    )
    assert sorted(await mended(store)) == [False, True, True, True]
    for run in (parents[0].run_id, woken, nothing.run_id):
        assert await state_of(store, run) is RunState.QUEUED
    (told,) = await store.signals(woken)
    assert b'"result":"done"' in told.payload
    assert [code for code, *_ in await found(store)] == ["lost_child"]


async def test_a_timer_that_nobody_looks_at(store: Store) -> None:
    run_id = await add(store, delay=timedelta(seconds=1))
    store.shift_clock(timedelta(minutes=5))
    assert await found(store) == [("overdue", run_id, "")]
    assert await mended(store) == [False]
    await store.wake_due()
    assert await found(store) == []


async def test_a_key_that_would_never_end(database: Database, store: Store) -> None:
    await held(store)
    key = Idempotency("k", b"body", window=timedelta(hours=1))
    lease = await started(store, idempotency=key)
    await settle(store, lease)
    await break_it(database, "UPDATE idempotency SET expires_at = NULL WHERE key = 'k'")
    assert await found(store) == [("key_without_end", lease.run_id, "k")]
    assert await mended(store) == [True]
    assert await found(store) == []
    (same,) = await store.enqueue([new(idempotency=key)])
    store.shift_clock(timedelta(hours=2))
    (anew,) = await store.enqueue([new(idempotency=key)])
    assert (same.deduplicated, anew.deduplicated) == (True, False)


async def test_rows_of_no_run(database: Database, store: Store) -> None:
    await held(store)
    kept, lost = await started(store), await started(store)
    for lease in (kept, lost):
        await store.record([row(lease, n) for n in range(1, 4)])
        await store.record([], (), [Message(lease.run_id, b"n", b"", b"body")])
    await break_it(database, f"DELETE FROM runs WHERE id = '{lost.run_id}'")
    codes = [(code, detail) for code, _, detail in await found(store)]
    assert codes == [("orphan_log", ""), ("orphan_requests", "")]
    done = await mended(store)
    assert done[0]
    assert await found(store) == []
    assert len(await store.journal(kept.run_id)) == 3
    assert await store.get_messages(kept.run_id, b"n") == [b"body"]


async def test_rows_that_sqlite_did_not_delete_with_their_run(
    database: Database, store: Store
) -> None:
    """A hand in the tables; PostgreSQL's foreign keys cannot be passed by."""
    if not database.url.startswith("sqlite:"):
        return
    await held(store)
    lease = await started(store, cap=("c", 1), idempotency=Idempotency("k", b"body"))
    await store.signal(lease.run_id, "go", b"1")
    await break_it(database, f"DELETE FROM runs WHERE id = '{lease.run_id}'")
    subjects = [(code, subject.partition("/")[0]) for code, subject, _ in await found(store)]
    assert sorted(subjects) == sorted(
        [("orphan_log", "1")]
        + [("orphan_rows", table) for table in ("idempotency", "signals", "slots")]
    )
    assert all(await mended(store))
    assert await found(store) == []


async def test_a_gap(database: Database, store: Store) -> None:
    await held(store)
    lease = await started(store)
    await store.record([row(lease, n) for n in range(1, 6)])
    await break_it(
        database,
        f"DELETE FROM log WHERE run = (SELECT n FROM runs WHERE id = '{lease.run_id}')"
        " AND seq IN (2, 3)",
    )
    assert await found(store) == [("gap", lease.run_id, "3 rows from 1 to 5")]
    assert await mended(store) == [False]


async def test_an_interrupted_deletion(store: Store) -> None:
    lease = await started(store)
    await store.record([row(lease, 1)])
    await settle(store, lease)
    assert await store.forget([Doomed(lease.run_id, await store.now())]) == 1
    assert await found(store) == [("leftover", "", "of 1 run")]
    await mended(store)
    assert await found(store) == []


@pytest.mark.parametrize("code", [*EXPLAINED, "unheard_of"])
async def test_what_is_not_so_is_not_mended(store: Store, code: str) -> None:
    await held(store)
    lease = await started(store, session="s", cap=("c", 1))
    child = await started(store)
    subject = "signals/77" if code == "orphan_rows" else lease.run_id
    if code.startswith("orphan_") and code != "orphan_rows" and store.url.startswith("sqlite:"):
        subject = "1"
    detail = child.run_id if code == "missed_child" else ""
    assert not await store.mend(Finding(code, subject, detail))
    assert await state_of(store, lease.run_id) is RunState.RUNNING


async def test_what_takes_how_much_space(store: Store) -> None:
    for _ in range(3):
        lease = await started(store, agent="a")
        await store.record([row(lease, 1, value=b"1" * 5000)])
    await settle(store, await started(store, agent="b"))
    usage = await store.usage()
    tables = {table.name: table for table in usage.tables}
    assert tables["runs"].rows == 4
    assert tables["log"].rows == 3
    assert tables["log"].exact
    assert (tables["log"].size or 10**6) > 8000
    assert usage.size > 50_000
    assert [(u.agent, u.state, u.count) for u in usage.runs] == [
        ("a", "running", 3), ("b", "succeeded", 1),
    ]  # fmt: skip
    assert usage.runs[0].oldest <= await store.now()
