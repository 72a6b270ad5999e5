"""The ledger: what calls cost, written with the journal, kept on its own."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import ANY

import asyncpg
import pytest

from perdure.core.charge import Charge, Priced, Source
from perdure.errors import UsageError
from perdure.store import Store
from perdure.store.costs import COLUMNS, FILTERS, CostFilter, CostRow, Entered
from perdure.store.retention import Doomed
from perdure.store.rows import Refusal
from tests.contract.driver import PATIENCE_S, Database, row, seqs, settle, started
from tests.contract.ledger import charge

HOUR = timedelta(hours=1)


async def by(store: Store, *names: str, **fields: Any) -> dict[tuple[str, ...], int]:
    """Group -> calls, in the order of the answer."""
    rows = await store.costs(CostFilter(by=names, **fields))
    return {tuple(row.group.values()): row.calls for row in rows}


async def total(store: Store) -> int:
    return sum(row.calls for row in await store.costs(CostFilter()))


async def test_everything_is_summed(store: Store) -> None:
    full = charge(
        "a", calls=2, input=100, output=20, cache_read=30, cache_write=40, reasoning=5,
        cost=10**15, saved=7, took_ms=1500,
    )  # fmt: skip
    more = [
        charge("b", input=1, cost=10**15 + 1, priced=Priced.ESTIMATE, took_ms=5),
        charge("c", calls=3, output=2, priced=Priced.UNKNOWN),
        charge("d", saved=11, priced=Priced.FREE, source=Source.CACHED),
    ]
    assert await store.costs(CostFilter()) == []
    await store.charge([full])
    await store.charge(more)
    await store.charge([])
    assert await store.costs(CostFilter()) == [
        CostRow(
            {}, calls=7, input=101, output=22, cache_read=30, cache_write=40, reasoning=5,
            cost=2 * 10**15 + 1, saved=18, estimated=1, unknown=3, took_ms=1505,
        )
    ]  # fmt: skip


async def test_by_everything(store: Store) -> None:
    lease = await started(store)
    texts = {
        name: f"a {name}"
        for name in COLUMNS
        if name not in ("run_id", "source", "priced") and name in Charge._fields
    }
    one = charge("a", run_id=lease.run_id, key=b"key", source=Source.VOID, **texts)
    bare = dict.fromkeys(texts, "")
    two = charge("b", calls=2, **bare)
    await store.charge([one, two])
    wanted = texts | {"run_id": lease.run_id, "source": "void", "priced": "known"}
    others = bare | {"run_id": "", "source": "sent", "priced": "known"}
    for name in COLUMNS:
        found = await by(store, name)
        want: dict[tuple[str, ...], int] = {}
        for group, calls in ((wanted[name], 1), (others[name], 2)):
            want[(group,)] = want.get((group,), 0) + calls
        assert found == want, name
    for name in FILTERS:
        assert await by(store, **{name: wanted[name]}) == {(): 1}, name
        assert await by(store, **{name: others[name]}) == {(): 2}, name
        assert await by(store, **{name: "another"}) == {}, name
    (row,) = await store.costs(CostFilter(by=COLUMNS, agent=texts["agent"], tenant=texts["tenant"]))
    assert row.group == {name: wanted[name] for name in COLUMNS}


async def test_the_rows_themselves_the_newest_first(store: Store) -> None:
    lease = await started(store)
    at = await store.now()
    one = charge(
        "a", run_id=lease.run_id, key=b"key", target="west", why="after east", cost=10**15,
        priced=Priced.OVERRIDE, source=Source.VOID, reasoning=3, took_ms=12,
    )  # fmt: skip
    two = charge("b", run_id=lease.run_id)
    of_no_run = charge("c")
    for each in (one, two, of_no_run):
        await store.charge([each])
        store.shift_clock(HOUR)
    assert await store.charges(CostFilter(run_id=lease.run_id)) == [
        Entered(ANY, two), Entered(ANY, one)
    ]  # fmt: skip
    assert (await store.charges(CostFilter(target="west"))) == [Entered(ANY, one)]
    [latest] = await store.charges(CostFilter(limit=1))
    assert latest.charge == of_no_run
    assert timedelta(0) <= latest.at - (at + 2 * HOUR) < timedelta(minutes=1)
    assert len(await store.charges(CostFilter(since=at + HOUR / 2, until=at + 3 * HOUR))) == 2
    assert await store.charges(CostFilter(run_id="")) == [latest]


async def test_by_day_and_hour_the_newest_first(store: Store) -> None:
    start = await store.now()
    for n in range(4):
        cheap, dear = charge(f"{n} a", agent="a", cost=1), charge(f"{n} b", agent="b", cost=2)
        await store.charge([cheap, dear])
        store.shift_clock(HOUR)
    hours = [f"{start + n * HOUR:%Y-%m-%dT%H}" for n in range(4)]
    assert list(await by(store, "hour")) == [(hour,) for hour in reversed(hours)]
    found = list(await by(store, "agent", "hour", limit=3))
    assert found == [("b", hours[3]), ("a", hours[3]), ("b", hours[2])]
    days = {f"{start + n * HOUR:%Y-%m-%d}" for n in range(4)}
    assert {day for (day,) in await by(store, "day")} == days
    assert list(await by(store, "agent")) == [("b",), ("a",)]  # the dearest first
    assert await by(store, since=start + HOUR / 2) == {(): 6}
    assert await by(store, until=start + HOUR / 2) == {(): 2}
    assert await by(store, since=start + HOUR / 2, until=start + 3 * HOUR) == {(): 4}


async def test_what_costs_are_not_kept_by(store: Store) -> None:
    with pytest.raises(UsageError) as refused:
        await store.costs(CostFilter(by=("day", "weather")))
    assert "'weather'" in refused.value.message
    assert "tenant" in (refused.value.hint or "")
    with pytest.raises(UsageError):
        await store.costs(CostFilter(by=("day", "day")))
    assert await store.costs(CostFilter(agent="'; drop table charges --")) == []


# -- with the journal -----------------------------------------------------------------------------


async def test_a_repeated_charge_counts_once(store: Store, other: Store) -> None:
    lease = await started(store)
    charges = [charge("a", run_id=lease.run_id, cost=3), charge("b", cost=4)]
    for each in (store, other, store):
        assert await each.record([row(lease, 1)], charges) == []
        await each.charge(charges)
    await store.charge([charges[0]._replace(cost=99), charges[0]._replace(cost=98)])
    (found,) = await store.costs(CostFilter())
    assert (found.calls, found.cost) == (2, 7)
    # The id is one within its run.
    await store.charge([charges[0]._replace(run_id=(await started(store)).run_id)])
    assert await total(store) == 3


async def test_charges_of_refused_rows_are_written(store: Store) -> None:
    old = await started(store, "w1")
    await store.release("w1")
    lost = await store.record([row(old, 1)], [charge("a", run_id=old.run_id)])
    assert lost == [Refusal(old.run_id, 1, True, 0)]
    lease = await started(store)
    taken = await store.record([row(lease, 5)], [charge("b", run_id=lease.run_id)])
    assert taken == [Refusal(lease.run_id, 5, False, 1)]
    assert await store.record([], [charge("c")]) == []
    assert await total(store) == 3


async def execute(database: Database, sql: str) -> None:
    if database.url.startswith("sqlite:"):
        with contextlib.closing(sqlite3.connect(database.url.removeprefix("sqlite:///"))) as link:
            link.execute(sql.replace("perdure.", ""))
        return
    server = await asyncpg.connect(database.url)
    await server.execute(sql)
    await server.close()


async def test_journal_and_ledger_are_one_transaction(database: Database, store: Store) -> None:
    lease = await started(store)
    given = [row(lease, 1)], [charge("a", run_id=lease.run_id)]
    await execute(database, "alter table perdure.log rename to gone")
    with pytest.raises(Exception, match=r"log"):
        await store.record(*given)
    await execute(database, "alter table perdure.gone rename to log")
    assert await total(store) == 0
    await execute(database, "alter table perdure.charges rename to gone")
    with pytest.raises(Exception, match=r"charges"):
        await store.record(*given)
    await execute(database, "alter table perdure.gone rename to charges")
    assert await seqs(store, lease.run_id) == []
    assert await store.record(*given) == []
    assert (await seqs(store, lease.run_id), await total(store)) == ([1], 1)


async def test_a_kill_leaves_them_equal(database: Database, store: Store) -> None:
    lease = await started(store)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.contract.ledger", database.url, lease.run_id, str(lease.epoch),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    acknowledged = 0
    async with asyncio.timeout(PATIENCE_S):
        while acknowledged < 90:
            acknowledged = int(await process.stdout.readline())
    process.kill()
    await process.communicate()
    # What was on its way when it died is there or not; both of it.
    last = 0
    written = await seqs(store, lease.run_id)
    while last != len(written):
        last = len(written)
        await store.watch(lease.run_id)  # behind whatever the server still carries out
        written = await seqs(store, lease.run_id)
    assert len(written) >= acknowledged
    found = await by(store, "step", run_id=lease.run_id, limit=10**6)
    assert {int(step) for (step,) in found} == set(written)


# -- how long -------------------------------------------------------------------------------------


async def test_charges_outlive_their_run(store: Store) -> None:
    lease = await started(store)
    await store.record([row(lease, 1)], [charge("a", run_id=lease.run_id, cost=5)])
    await settle(store, lease)
    await store.forget([Doomed(lease.run_id, await store.now())])
    while (await store.clear()).left:
        pass
    assert await by(store, "run_id") == {(lease.run_id,): 1}
    assert await store.inspect() == []


async def test_old_charges_go_in_portions(store: Store, other: Store) -> None:
    await store.charge([charge(f"{n}", cost=n) for n in range(10)])
    store.shift_clock(HOUR)
    await store.charge([charge("young")])
    before: datetime = await store.now() - HOUR / 2
    assert await store.expire(before, 3, dry=True) == (10, False)
    portions = [await store.expire(before, 4) for _ in range(4)]
    assert portions == [(4, True), (4, True), (2, False), (0, False)]
    assert await total(store) == 1
    await store.charge([charge(f"{n}") for n in range(50)])
    later = await store.now() + HOUR
    rows = await asyncio.gather(*[each.expire(later, 7) for each in [store, other] * 6])
    assert sum(cleared.rows for cleared in rows) + await total(store) == 51


async def test_the_ledger_takes_space(store: Store) -> None:
    await store.charge([charge(f"{n}") for n in range(20)])
    tables = {table.name: table for table in (await store.usage()).tables}
    assert tables["charges"].rows == 20
    assert tables["shared"].rows == 0
