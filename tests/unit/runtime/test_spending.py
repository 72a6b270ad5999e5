"""The leader tells once of unusual hours, and deletes what the gateway keeps no longer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from perdure.core.anomaly import Rule
from perdure.core.budget import Books, Budget, Nano, Spender, accounts
from perdure.core.charge import NANO, Charge, Priced
from perdure.core.hooks import SpendAnomaly
from perdure.runtime.spending import Spending, SpendingSettings, told
from perdure.store.sqlite import SqliteStore

HOUR = timedelta(hours=1)
SETTINGS = SpendingSettings(days=7, rule=Rule(hours=24))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(f"sqlite:///{tmp_path}/runs.db")
    await made.open(check=False)
    await made.upgrade()
    now = await made.now()  # the beginning of an hour
    made.shift_clock(HOUR - timedelta(minutes=now.minute, seconds=now.second))
    yield made
    await made.close()


class Wallet:
    """Spends with credentials."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._n = 0

    async def spend(self, dollars: float, credential: str = "main") -> None:
        self._n += 1
        await self._store.charge(
            [
                Charge(
                    self._n.to_bytes(16, "big"), "a", "openai", "gpt-5", credential=credential,
                    cost=round(dollars * NANO), priced=Priced.KNOWN,
                )
            ]
        )  # fmt: skip

    async def days(self, dollars: float, hours: int = 30) -> None:
        for _ in range(hours):
            await self.spend(dollars)
            self._store.shift_clock(HOUR)


async def test_an_unusual_hour_is_told_once_over_all_workers(store: SqliteStore) -> None:
    wallet, heard = Wallet(store), list[SpendAnomaly]()
    first, second = (Spending(store, SETTINGS, heard.append) for _ in range(2))
    await wallet.days(2.0)
    await wallet.spend(3.0)
    assert await first.look() == []
    await wallet.spend(7.0)
    [found] = await first.look()
    assert (found.credential, found.spent, found.usual) == ("main", 10 * NANO, 2 * NANO)
    assert await first.look() == []
    assert await second.look() == []
    assert heard == [found]
    store.shift_clock(HOUR)
    # The hour is over and was told of; the next one is told for itself.
    assert await second.look() == []
    await wallet.spend(50.0)
    [later] = await second.look()
    assert later.hour > found.hour
    assert [(each["hour"], each["spent_usd"]) for each in await told(store)] == [
        (later.hour, 50.0), (found.hour, 10.0),
    ]  # fmt: skip


async def test_what_was_spent_late_in_an_hour_is_seen_in_the_next(store: SqliteStore) -> None:
    wallet, heard = Wallet(store), list[SpendAnomaly]()
    await wallet.days(2.0)
    await wallet.spend(40.0)
    store.shift_clock(HOUR)
    assert [each.spent for each in await Spending(store, SETTINGS, heard.append).look()] == [
        40 * NANO
    ]


async def test_credentials_are_judged_each_by_itself(store: SqliteStore) -> None:
    wallet, heard = Wallet(store), list[SpendAnomaly]()
    await wallet.days(100.0)
    await wallet.spend(40.0, "new")
    await wallet.spend(110.0)
    assert await Spending(store, SETTINGS, heard.append).look() == []


async def test_it_can_be_off(store: SqliteStore) -> None:
    wallet, heard = Wallet(store), list[SpendAnomaly]()
    await wallet.days(2.0)
    await wallet.spend(1000.0)
    assert await Spending(store, SpendingSettings(days=0), heard.append).look() == []
    assert await told(store) == []


async def test_documents_of_past_periods_are_deleted_once_an_hour(store: SqliteStore) -> None:
    daily = Budget(name="a day", usd=Nano(100), every="day", per="tenant")
    ever = Budget(name="ever", usd=Nano(1000))

    async def spend(tenant: str) -> None:
        now = (await store.now()).timestamp()
        charged = accounts((daily, ever), Spender(tenant=tenant), now)
        found = await store.swap([account.key for account in charged])
        books = Books(found.documents, "w", 1, now)
        hold = books.reserve(charged, 1).hold
        assert hold is not None
        assert (await store.swap([], books.swaps())).done

    spending = Spending(store, replace(SETTINGS, budgets=("a day",)), lambda _: None)
    for n in range(105):
        await spend(f"tenant {n}")
    store.shift_clock(timedelta(days=3))
    await spend("young")
    assert await spending.close_books() == 105
    kept = (await store.listed("budget/")).documents
    assert len(kept) == 2
    assert any(key.endswith("/young") for key in kept)
    store.shift_clock(timedelta(days=3) - HOUR)
    assert await spending.close_books() == 1
    await spend("young")
    store.shift_clock(timedelta(minutes=1))
    assert await spending.close_books() == 0


async def test_old_answers_are_deleted_a_portion_at_a_time(store: SqliteStore) -> None:
    for n in range(250):
        await store.remember(b"%d" % n, b"x", HOUR)
    await store.remember(b"young", b"x", HOUR * 3)
    spending = Spending(store, SETTINGS, lambda _: None)
    assert await spending.lapse() == 0
    store.shift_clock(HOUR * 2)
    left = iter([True, False])
    assert await spending.lapse(lambda: next(left)) == 100
    assert await spending.lapse() == 150
    assert await store.recall(b"young") == b"x"
