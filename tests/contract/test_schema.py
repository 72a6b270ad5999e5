"""Opening, upgrading and closing."""

from __future__ import annotations

import asyncio

import pytest

from perdure.errors import SchemaOutdated, StoreUnavailable
from perdure.store import make_store
from tests.contract.driver import Database, add, new


async def test_a_database_without_a_schema_is_refused(empty: Database) -> None:
    store = make_store(empty.url)
    with pytest.raises(SchemaOutdated) as refused:
        await store.open()
    assert refused.value.hint is not None
    assert "perdure db upgrade" in refused.value.hint
    with pytest.raises(StoreUnavailable):
        await store.get("x")


async def test_a_database_is_upgraded_once(empty: Database) -> None:
    async with empty.opened(check=False) as store:
        version, needed = await store.schema()
        assert version == 0
        assert needed >= 1
        names = await store.upgrade()
        assert len(names) == needed
        assert names[0].startswith("0001")
        assert await store.schema() == (needed, needed)
        assert await store.upgrade() == []
        await add(store)
    async with empty.opened() as store:
        (queue,) = await store.stats()
        assert queue.states == {"queued": 1}


async def test_two_processes_upgrade_at_once(empty: Database) -> None:
    async with empty.opened(check=False) as one, empty.opened(check=False) as two:
        done = await asyncio.gather(one.upgrade(), two.upgrade())
        assert sorted(map(len, done))[0] == 0
        assert len(max(done, key=len)) == (await one.schema())[1]


async def test_a_closed_store_says_so(database: Database) -> None:
    store = make_store(database.url)
    with pytest.raises(StoreUnavailable):
        await store.enqueue([new()])
    await store.open()
    run_id = await add(store)
    await store.close()
    await store.close()
    for call in (store.enqueue([new()]), store.get(run_id), store.wake_due()):
        with pytest.raises(StoreUnavailable):
            await call


async def test_a_store_is_opened_again(database: Database) -> None:
    store = make_store(database.url)
    await store.open()
    run_id = await add(store)
    await store.close()
    await store.open()
    assert (await store.get(run_id)).id == run_id
    await store.close()


async def test_what_was_asked_before_the_close_is_done(database: Database) -> None:
    store = make_store(database.url)
    await store.open()
    runs = [new() for _ in range(20)]
    writes = [asyncio.create_task(store.enqueue([run])) for run in runs]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*writes)
    async with database.opened() as later:
        for run in runs:
            assert (await later.get(run.id)).id == run.id
