"""Old runs are deleted as families, in portions, and nothing else is."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from perdure.core.run import RunState
from perdure.errors import NotFound
from perdure.store import Store
from perdure.store.postgres.verbs import retention as postgres_verbs
from perdure.store.retention import Doomed, OldRun, Retention, doomed
from perdure.store.rows import Idempotency, Lease, Message, Wait
from perdure.store.sqlite.verbs import retention as sqlite_verbs
from tests.contract.driver import (
    Database,
    add,
    claim,
    new,
    park,
    row,
    settle,
    started,
    state_of,
)

DAY = timedelta(days=1)
BLOB = b"\x01"


async def ended(store: Store, state: RunState = RunState.SUCCEEDED, **fields: Any) -> str:
    lease = await started(store, **fields)
    await settle(store, lease, state)
    return lease.run_id


async def old(store: Store) -> list[OldRun]:
    """Every page of two."""
    found: list[OldRun] = []
    after: int | None = 0
    while after is not None:
        page = await store.old_runs(after, await store.now(), limit=2)
        found += page.runs
        after = page.after
    return found


async def forget(store: Store, *runs: str, age: timedelta = timedelta(0)) -> int:
    before = await store.now() - age
    return await store.forget([Doomed(run, before) for run in runs])


async def clear(store: Store, limit: int = 1000) -> int:
    """Until nothing is left; returns how many portions it took."""
    portions = 0
    while True:
        portions += 1
        if not (await store.clear(limit)).left:
            return portions


async def there(store: Store, run_id: str) -> bool:
    try:
        await store.get(run_id)
    except NotFound:
        return False
    return True


async def test_old_runs_are_those_that_ended_and_begin_a_family(store: Store) -> None:
    first = await ended(store)
    await add(store)
    parent = await started(store)
    await ended(store, parent=parent.run_id)
    second = await ended(store, RunState.FAILED, agent="other")
    found = await old(store)
    assert [(r.id, r.agent, r.state) for r in found] == [
        (first, "agent", RunState.SUCCEEDED), (second, "other", RunState.FAILED),
    ]  # fmt: skip
    assert (await store.old_runs(0, await store.now() - DAY)).runs == []


async def test_the_rules_of_an_agent_go_before_the_general_ones(store: Store) -> None:
    rules = Retention(
        {RunState.SUCCEEDED: DAY, RunState.FAILED: None},
        {"kept": {RunState.SUCCEEDED: None}, "short": {RunState.FAILED: DAY / 2}},
    )
    assert rules.shortest == DAY / 2
    assert Retention().shortest is None
    kept = await ended(store, agent="kept")
    short = await ended(store, RunState.FAILED, agent="short")
    other = await ended(store, agent="other")
    failed = await ended(store, RunState.FAILED, agent="other")
    now = await store.now()
    for later, expected in ((DAY / 3, []), (DAY * 2 / 3, [short]), (DAY * 2, [short, other])):
        assert [d.id for d in doomed(await old(store), rules, now + later)] == expected
    assert {kept, failed} <= {run.id for run in await old(store)}


async def test_a_forgotten_run_is_gone_with_all_it_had(store: Store) -> None:
    lease = await started(store)
    await store.record([row(lease, seq) for seq in range(1, 8)])
    await store.record([], (), [Message(lease.run_id, b"n", b"", b"body")])
    await store.signal(lease.run_id, "go", b"1")
    await settle(store, lease)
    kept = await ended(store)
    assert await forget(store, lease.run_id) == 1
    assert not await there(store, lease.run_id)
    assert await clear(store, limit=3) > 2
    assert await store.events(lease.run_id) == []
    assert await store.signals(lease.run_id) == []
    with pytest.raises(NotFound):
        await store.get_messages(lease.run_id, b"n")
    assert await there(store, kept)
    assert await clear(store) == 1


async def test_large_values_are_deleted_a_few_at_a_time(store: Store) -> None:
    lease = await started(store)
    await store.record([row(lease, n, value=b"2" * 1_500_000) for n in range(1, 8)])
    await settle(store, lease)
    await forget(store, lease.run_id)
    portion = await store.clear(1000)
    assert (portion.rows <= 5, portion.left) == (True, True)
    assert await clear(store) >= 2


async def test_what_is_not_final_or_too_young_stays(store: Store) -> None:
    young = await ended(store)
    queued, running, parked = await add(store), await started(store), await started(store)
    await park(store, parked, Wait("signal", "go"))
    assert await forget(store, queued, running.run_id, parked.run_id) == 0
    assert await forget(store, young, age=DAY) == 0
    store.shift_clock(DAY * 2)
    later = Doomed(young, await store.now() - DAY)
    assert await store.forget([later, Doomed(queued, later.ended_before)], dry=True) == 1
    assert await there(store, young)
    assert await forget(store, young, queued, age=DAY) == 1
    assert await state_of(store, queued) is RunState.QUEUED


async def test_an_idempotency_key_keeps_its_run(store: Store) -> None:
    key = Idempotency("k", b"body", window=DAY)
    run_id = await ended(store, idempotency=key)
    store.shift_clock(DAY / 2)
    assert await forget(store, run_id) == 0
    (again,) = await store.enqueue([new(idempotency=key)])
    assert (again.id, again.deduplicated) == (run_id, True)
    store.shift_clock(DAY)
    assert await forget(store, run_id) == 1
    (anew,) = await store.enqueue([new(idempotency=key)])
    assert not anew.deduplicated


async def test_a_family_goes_together(store: Store) -> None:
    parent = await started(store)
    child = await started(store, parent=parent.run_id, depth=1)
    grandchild = await started(store, parent=child.run_id, depth=2)
    for each in (child, parent):
        await settle(store, each)
    assert await forget(store, parent.run_id) == 0, "one below it is not final"
    store.shift_clock(DAY)
    await settle(store, grandchild)
    assert await forget(store, parent.run_id, age=DAY / 2) == 0, "one below it is too young"
    assert await forget(store, parent.run_id) == 3
    await clear(store)
    for each in (parent, child, grandchild):
        assert not await there(store, each.run_id)


async def test_a_large_family_goes_in_portions(store: Store) -> None:
    parent = await started(store)
    runs = [new(parent=parent.run_id, depth=1) for _ in range(250)]
    await store.enqueue(runs)
    leases = await claim(store, limit=300)
    for lease in (*leases, parent):
        await settle(store, lease)
    assert await forget(store, parent.run_id) == 251
    # A child is for nobody any more, but until it is deleted it could still be redriven.
    first = await store.clear(100)
    assert first.left
    assert await clear(store) > 1
    assert await old(store) == []


async def test_a_child_that_was_redriven_meanwhile_stays(store: Store) -> None:
    parent = await started(store)
    child = await started(store, parent=parent.run_id, depth=1)
    await store.record([row(child, 1)])
    await settle(store, child, RunState.FAILED)
    await settle(store, parent)
    assert await forget(store, parent.run_id) == 2
    await store.redrive(child.run_id)
    await clear(store)
    assert await state_of(store, child.run_id) is RunState.QUEUED
    assert len(await store.journal(child.run_id)) == 1


async def test_a_run_whose_parent_is_gone_begins_a_family(store: Store) -> None:
    stray = await ended(store, parent="6c7c1f9e-2f36-4f3a-9d8e-1f1f1f1f1f1f")
    assert [run.id for run in await old(store)] == [stray]


async def test_new_runs_do_not_meet_what_old_ones_left(store: Store) -> None:
    """The number of the newest run is not given again while rows of its log are there."""
    lease = await started(store)
    await store.record([row(lease, seq) for seq in range(1, 4)])
    await settle(store, lease)
    assert await forget(store, lease.run_id) == 1
    again = await started(store)
    assert again.next_seq == 1
    assert await store.journal(again.run_id) == []
    await store.record([row(again, 1)])
    await clear(store)
    assert len(await store.journal(again.run_id)) == 1


async def test_many_delete_at_once(store: Store, other: Store) -> None:
    leases: list[Lease] = []
    for _ in range(20):
        lease = await started(store)
        await store.record([row(lease, seq) for seq in range(1, 20)])
        leases.append(lease)
    for lease in leases:
        await settle(store, lease)
    kept = await started(store)
    runs = [lease.run_id for lease in leases]
    counts = await asyncio.gather(*(forget(s, *runs) for s in (store, other) * 2))
    assert sum(counts) == 20
    await asyncio.gather(*(clear(s, limit=50) for s in (store, other) * 2))
    await clear(store)
    for lease in leases:
        assert await store.events(lease.run_id) == []
    assert await store.record([row(kept, 1)]) == []


# -- blobs ----------------------------------------------------------------------------------------


def ref(n: int) -> bytes:
    return BLOB + (b"%02d" % n) * 32


async def test_references_to_blobs_are_known_wherever_they_are(store: Store) -> None:
    lease = await started(store, input=ref(1))
    await store.record([row(lease, 1, value=ref(2)), row(lease, 2, value=b'"\\u0001"')])
    await store.record([row(lease, 3, value=ref(2))])
    await store.signal(lease.run_id, "go", ref(3))
    assert await store.referenced([ref(n) for n in range(6)]) == {ref(1), ref(2), ref(3)}
    assert await store.referenced([]) == set()
    await settle(store, lease, result=ref(4))
    found, page = [], await store.references(limit=3)
    while page:
        found += page
        page = await store.references(page[-1], 3)
    assert found == [ref(1), ref(2), ref(3), ref(4)]
    await forget(store, lease.run_id)
    await clear(store)
    assert await store.references() == []


async def test_references_are_found_by_indexes(database: Database) -> None:
    """Looking for them must not read the log."""
    if database.url.startswith("sqlite:"):
        link = sqlite3.connect(database.url.removeprefix("sqlite:///"))
        lines = [
            str(line[3])
            for sql, given in (
                (sqlite_verbs._REFERENCED, ("[]",)),
                (sqlite_verbs._REFERENCES, (b"", 10)),
            )
            for line in link.execute(f"EXPLAIN QUERY PLAN {sql}", given)
        ]
        link.close()
    else:
        server = await asyncpg.connect(database.url)
        await server.execute("set enable_seqscan = off")
        lines = [
            row[0]
            for sql, given in (
                (postgres_verbs._REFERENCED, ([b"x"],)),
                (postgres_verbs._REFERENCES, (b"", 10)),
            )
            for row in await server.fetch(f"explain {sql}", *given)
        ]
        await server.close()
    plan = "\n".join(lines)
    for index in ("log_blobs", "runs_blob_inputs", "runs_blob_results", "signals_blobs"):
        assert plan.count(index) >= 2, plan
    assert "SCAN log\n" not in plan
    assert "Seq Scan" not in plan
