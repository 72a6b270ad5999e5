"""Enqueue, claim and settle of no-op runs, alone, on the schema of journal_shapes.sql.

python -m bench.queue_shapes [--runs 5000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import time
import uuid
from collections.abc import Awaitable
from typing import Any

import asyncpg

from bench.journal_shapes import SCHEMA
from bench.limits import Rate, best, client_cpu_s, server_cpu_s
from tests.servers import PostgresServer

CLAIMED = "id, epoch, agent, tenant, session, attempts, deadline, version, input"
COPIED = (
    *("id", "agent", "tenant", "queue", "shape", "session", "priority", "idempotency_key"),
    *("ready_at", "deadline", "version", "input"),
)


async def timed(link: Any, entries: int, work: Awaitable[Any]) -> Rate:
    """Await the work, which handles so many runs on one connection."""
    backend = [link.get_server_pid()]
    server, client, begun = server_cpu_s(backend), client_cpu_s(), time.perf_counter()
    await work
    return Rate(
        entries=entries,
        statements=0,
        elapsed_s=time.perf_counter() - begun,
        client_cpu_s=client_cpu_s() - client,
        server_cpu_s=server_cpu_s(backend) - server,
    )


async def in_batches(link: Any, sql: str, rows: list[Any], size: int) -> None:
    """Send the rows as one array argument, so many a statement."""
    statement = await link.prepare(sql)
    for begin in range(0, len(rows), size):
        await statement.fetch(rows[begin : begin + size])


async def claim_all(link: Any, size: int) -> list[Any]:
    """Claim until the queue is empty."""
    statement = await link.prepare(f"select {CLAIMED} from claim($1, 'default', 'w1')")
    found: list[Any] = []
    while claimed := await statement.fetch(size):
        found.extend(claimed)
    return found


def new_runs(count: int) -> list[tuple[Any, ...]]:
    """Rows of the type `new_run`."""
    now = datetime.datetime.now(datetime.UTC)
    rest = ("noop", "", "default", "batch", None, 0, None, now, None, "v1", b"{}")
    return [(uuid.uuid4(), *rest) for _ in range(count)]


async def measure(dsn: str, runs: int) -> dict[str, Rate]:
    """One round of everything in a fresh schema."""
    link = await asyncpg.connect(dsn)
    await link.execute("drop schema public cascade; create schema public")
    await link.execute(SCHEMA)
    found: dict[str, Rate] = {}
    for size in (1, 200, 1000):
        rows = new_runs(min(runs, 500 * size))
        work = in_batches(link, "select enqueue($1::new_run[])", rows, size)
        found[f"enqueue, {size} a statement"] = await timed(link, len(rows), work)
        await link.execute("truncate runs, log")
    await link.execute("alter table runs alter state set default 'queued'")
    copying = link.copy_records_to_table("runs", records=new_runs(runs), columns=COPIED)
    found["enqueue, COPY without events"] = await timed(link, runs, copying)
    await link.execute("truncate runs, log")

    await in_batches(link, "select enqueue($1::new_run[])", new_runs(runs), 1000)
    claiming = asyncio.ensure_future(claim_all(link, 200))
    found["claim, 200 a statement"] = await timed(link, runs, claiming)
    settled = [
        (run["id"], run["epoch"], "succeeded", b'{"ok":1}', None, None, 3, None)
        for run in claiming.result()
    ]
    settling = in_batches(link, "select settle($1::settlement[])", settled, 200)
    found["settle, 200 a statement"] = await timed(link, runs, settling)
    done = await link.fetchval("select count(*) from runs where state = 'succeeded'")
    events = await link.fetchval("select count(*) from log")
    if (done, events) != (runs, 4 * runs):
        raise RuntimeError(f"{done} runs of {runs} succeeded, with {events} events")
    await link.close()
    return found


async def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=5000)
    arguments.add_argument("--rounds", type=int, default=5)
    chosen = arguments.parse_args()
    with PostgresServer(durable=True) as server:
        rounds = [await measure(server.dsn(), chosen.runs) for _ in range(chosen.rounds)]
    for name in rounds[0]:
        rate = best([found[name] for found in rounds])
        cpu = f"{rate.client_us:6.1f} us client {rate.server_us or 0:6.1f} us server"
        print(f"{name:32} {rate.per_second:9,.0f}/s {cpu}")


if __name__ == "__main__":
    asyncio.run(main())
