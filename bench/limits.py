"""The bare limit of a journal: how fast this machine's database takes tiny group commits at all.

Every durable-execution engine that commits before an effect returns stands under this limit. The
journal's own speed is reported as a share of it. The workload is `runs` coroutines that each record
`steps` entries one after another; a statement carries whatever is pending, one statement at a time,
and an entry returns after its commit. The limit's table has three columns and no fence.

    python -m bench.limits [--runs 200] [--steps 100] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import resource
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import asyncpg

from tests.servers import PostgresServer

Row = TypeVar("Row")
BareRow = tuple[uuid.UUID, int, bytes]
Write = Callable[[list[Row]], Awaitable[object]]

VALUE = b'{"role":"tool","n":12345678}'
BARE_TABLE = """
create table bare (run_id uuid not null, seq int not null, value bytea not null,
                   primary key (run_id, seq))
"""
BARE_INSERT = "insert into bare select * from unnest($1::uuid[], $2::int[], $3::bytea[])"


@dataclass(frozen=True, slots=True)
class Rate:
    """One measurement: `entries` durable ones in `elapsed_s`, and the processor time they took."""

    entries: int
    statements: int
    elapsed_s: float
    client_cpu_s: float
    server_cpu_s: float | None = None

    @property
    def per_second(self) -> float:
        """Entries a second."""
        return self.entries / self.elapsed_s

    @property
    def client_us(self) -> float:
        """Microseconds of this process's processor time for an entry."""
        return self.client_cpu_s / self.entries * 1e6

    @property
    def server_us(self) -> float | None:
        """Microseconds of the database backends' processor time for an entry."""
        return None if self.server_cpu_s is None else self.server_cpu_s / self.entries * 1e6

    def __str__(self) -> str:
        server = "" if self.server_us is None else f"{self.server_us:7.1f} us server"
        rows = self.entries / max(self.statements, 1)
        return f"{self.per_second:9,.0f}/s {self.client_us:7.1f} us client {server} ({rows:.0f}/st)"


class GroupCommit(Generic[Row]):
    """What is pending goes out as one statement while the one before is in flight."""

    def __init__(self, write: Write[Row], *, lanes: int = 1) -> None:
        self.statements = 0
        self._write = write
        self._free = lanes
        self._pending: list[tuple[Row, asyncio.Future[None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    async def record(self, row: Row) -> None:
        """Return when the row is durable; raises what the write raised."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._pending.append((row, done))
        if self._free:
            self._free -= 1
            # As a task, it runs after everything that is ready now: those rows join the statement.
            task = self._loop.create_task(self._flush())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await done

    async def _flush(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            self.statements += 1
            try:
                await self._write([row for row, _ in batch])
            except Exception as error:
                for _, done in batch:
                    done.set_exception(error)
            else:
                for _, done in batch:
                    done.set_result(None)
            # Runs that were just answered join the next statement rather than miss it.
            await asyncio.sleep(0)
        self._free += 1


async def drive(
    write: Write[Row],
    rows: Sequence[Sequence[Row]],
    *,
    lanes: int = 1,
    backends: Sequence[int] = (),
) -> Rate:
    """Record each run's rows in order, the runs at once; `backends` are pids to charge."""
    commit = GroupCommit(write, lanes=lanes)

    async def run(own: Sequence[Row]) -> None:
        for row in own:
            await commit.record(row)

    server, client, begun = server_cpu_s(backends), client_cpu_s(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for own in rows:
            group.create_task(run(own))
    elapsed, spent = time.perf_counter() - begun, client_cpu_s() - client
    return Rate(
        entries=sum(len(own) for own in rows),
        statements=commit.statements,
        elapsed_s=elapsed,
        client_cpu_s=spent,
        server_cpu_s=server_cpu_s(backends) - server if backends else None,
    )


def client_cpu_s() -> float:
    """Processor seconds of this process, its threads included."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def server_cpu_s(pids: Sequence[int]) -> float:
    """Processor seconds of other processes, to the nanosecond, from /proc/PID/schedstat."""
    stats = (Path(f"/proc/{pid}/schedstat").read_text().split() for pid in pids)
    return sum(int(on_cpu) for on_cpu, *_ in stats) / 1e9


def bare_rows(runs: int, steps: int, value: bytes = VALUE) -> list[list[BareRow]]:
    """Rows of fresh runs."""
    ids = [uuid.uuid4() for _ in range(runs)]
    return [[(run, seq, value) for seq in range(steps)] for run in ids]


async def postgres_limit(dsn: str, *, runs: int, steps: int, rounds: int = 1) -> list[Rate]:
    """The limit of the PostgreSQL database at `dsn`, which gets a table `bare` for the time."""
    link = await asyncpg.connect(dsn)
    try:
        await link.execute(f"drop table if exists bare; {BARE_TABLE}")
        insert = await link.prepare(BARE_INSERT)

        async def write(rows: list[BareRow]) -> None:
            await insert.fetch(*zip(*rows, strict=True))

        await write(bare_rows(1, 1)[0])
        found = []
        for _ in range(rounds):
            rows = bare_rows(runs, steps)
            found.append(await drive(write, rows, backends=[link.get_server_pid()]))
        await link.execute("drop table bare")
        return found
    finally:
        await link.close()


async def sqlite_limit(
    path: Path, *, runs: int, steps: int, rounds: int = 1, inline: bool = False
) -> list[Rate]:
    """The limit of SQLite in a new file (WAL, synchronous=FULL), written from a thread of its own.

    `inline` writes on the event loop's thread instead: no hop between threads, but a commit
    blocks everything else.
    """
    link = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    link.execute("pragma journal_mode=wal")
    link.execute("pragma synchronous=full")
    link.execute(
        "create table bare (run_id blob not null, seq int not null, value blob not null,"
        " primary key (run_id, seq)) without rowid"
    )

    def insert(rows: list[tuple[bytes, int, bytes]]) -> None:
        link.execute("begin immediate")
        link.executemany("insert into bare values (?, ?, ?)", rows)
        link.execute("commit")

    async def write_inline(rows: list[tuple[bytes, int, bytes]]) -> None:
        insert(rows)

    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        loop = asyncio.get_running_loop()

        async def write(rows: list[tuple[bytes, int, bytes]]) -> None:
            await loop.run_in_executor(thread, insert, rows)

        found = []
        for _ in range(rounds):
            rows = [[(run.bytes, seq, v) for run, seq, v in own] for own in bare_rows(runs, steps)]
            found.append(await drive(write_inline if inline else write, rows))
    link.close()
    return found


def best(rates: Sequence[Rate]) -> Rate:
    """The fastest of several measurements: what else the machine does only slows one down."""
    return max(rates, key=lambda rate: rate.per_second)


async def main() -> None:
    """Print the limits of this machine."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=200)
    arguments.add_argument("--steps", type=int, default=100)
    arguments.add_argument("--rounds", type=int, default=5)
    chosen = arguments.parse_args()
    with PostgresServer(durable=True) as server, tempfile.TemporaryDirectory() as folder:
        for runs, steps in ((chosen.runs, chosen.steps), (1, 500)):
            size: dict[str, Any] = {"runs": runs, "steps": steps, "rounds": chosen.rounds}
            places: dict[str, Coroutine[Any, Any, list[Rate]]] = {
                "postgres": postgres_limit(server.dsn(), **size),
                "postgres, Unix socket": postgres_limit(server.socket_dsn(), **size),
                "sqlite": sqlite_limit(Path(folder) / f"thread{runs}.db", **size),
                "sqlite inline": sqlite_limit(Path(folder) / f"l{runs}.db", **size, inline=True),
            }
            for name, measuring in places.items():
                print(f"{runs:4} x {steps:4} {name:22} {best(await measuring)}")


if __name__ == "__main__":
    asyncio.run(main())
