"""What a claim costs: what it leases, not what waits."""

from __future__ import annotations

import pytest

from perdure.store.sqlite import SqliteStore
from perdure.store.sqlite.verbs.claim import claim
from perdure.store.sqlite.writer import Transaction
from tests.contract.driver import new


@pytest.mark.parametrize("tenants", [1, 7, 100])
async def test_a_claim_takes_few_statements(store: SqliteStore, tenants: int) -> None:
    await store.enqueue([new(tenant=f"t{i % tenants}") for i in range(500)])

    def counted(tx: Transaction) -> tuple[int, int]:
        statements: list[str] = []
        tx.link.set_trace_callback(statements.append)
        leases = claim(tx, "w", ["default"], 50, idle=False).leases
        tx.link.set_trace_callback(None)
        return len(leases), len(statements)

    leases, statements = await store._writer.write(counted)
    assert leases == 50
    assert statements <= 5


async def test_a_claim_reads_only_indexes(store: SqliteStore) -> None:
    """Nothing is scanned: that is what keeps a claim flat at a million runs."""
    plans: list[str] = []

    def explained(tx: Transaction) -> None:
        statements: list[str] = []
        tx.link.set_trace_callback(statements.append)
        claim(tx, "w", ["default"], 50, idle=False)
        tx.link.set_trace_callback(None)
        for statement in statements:
            plan = tx.all(f"EXPLAIN QUERY PLAN {statement}")
            plans.extend(step["detail"] for step in plan)

    await store.enqueue([new(tenant=f"t{i % 3}") for i in range(20)])
    await store._writer.write(explained)
    scans = [step for step in plans if step.startswith("SCAN") and "json_each" not in step]
    assert plans
    assert set(scans) <= {"SCAN lines"}  # the tenants found so far
