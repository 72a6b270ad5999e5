"""PostgreSQL only: what a statement costs does not grow with what is in the tables, whatever the
planner knew when it made its plans, and nobody analyzed since."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from perdure.store import Store
from tests.contract.conftest import Postgres
from tests.contract.driver import Database, new

MANY = 20_000
FEW = 50  # runs that a statement is about


@pytest.fixture
async def database(postgres: Postgres) -> Database:
    return await postgres.database(empty=False)


@pytest.fixture
async def link(database: Database) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database.url)
    await connection.execute(
        "alter table perdure.runs set (autovacuum_enabled = false);"
        "alter table perdure.log set (autovacuum_enabled = false)"
    )
    yield connection
    await connection.close()


async def pages(link: Any, sql: str, *given: Any) -> int:
    """How many pages the statement looks at."""
    text = await link.fetchval(f"explain (analyze, buffers, format json) {sql}", *given)
    plan = json.loads(text)[0]["Plan"]
    found: int = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return found


async def leases(link: Any, count: int) -> list[uuid.UUID]:
    rows = await link.fetch(
        "select id from perdure.claim('w', array['default'], $1, true, null)", count
    )
    return [r["id"] for r in rows]


def entries(runs: list[uuid.UUID], seq: int) -> list[tuple[Any, ...]]:
    return [(run, seq, 1, "entry", *[None] * 13) for run in runs]


def settlements(runs: list[uuid.UUID]) -> list[tuple[Any, ...]]:
    return [
        (run, 1, "succeeded", 0, None, None, "[]", None, None, [], [], None, None, None)
        for run in runs
    ]  # fmt: skip


async def round_of_all(store: Store, link: Any) -> dict[str, int]:
    """What each statement costs for FEW runs."""
    claim = await pages(
        link, "select * from perdure.claim('w', array['default', 'other'], $1, true, null)", FEW
    )
    mine = await leases(link, FEW)
    record = await pages(
        link, "select * from perdure.record($1::perdure.entry[])", entries(mine, 1)
    )
    settle = await pages(
        link, "select * from perdure.settle($1::perdure.settlement[], '{}')", settlements(mine)
    )
    await store.enqueue([new(delay=timedelta(0)) for _ in range(FEW)])
    wake = await pages(link, "select * from perdure.wake_due(1000)")
    release = await pages(link, "select * from perdure.leased('nobody')")
    return {"claim": claim, "record": record, "settle": settle, "wake": wake, "leased": release}


async def test_costs_stay_flat(store: Store, link: Any) -> None:
    # The plans are made now, when there is next to nothing.
    await store.enqueue([new(tenant=f"t{i % 5}") for i in range(3 * FEW)])
    small = await round_of_all(store, link)
    for _ in range(10):
        await store.enqueue([new(tenant=f"t{i % 5}") for i in range(MANY // 10)])
        await store.enqueue(
            [new(queue="other", delay=timedelta(hours=1)) for _ in range(MANY // 10)]
        )
    await store.enqueue([new(queue="busy", lease_to="v") for _ in range(MANY)])
    big = await round_of_all(store, link)
    for what, cost in big.items():
        assert cost < 2 * small[what] + 500, (what, small, big)
