"""Shapes of the journal's table and of its fenced group commit, measured against the bare limit.

The recommended shape is journal_shapes.sql; the others are what it was chosen from. Each is a
variation of one thing. The best of several rounds is reported, since only noise is added to it.

    python -m bench.journal_shapes [NAME...] [--runs 200] [--steps 100] [--rounds 7]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg

from bench.limits import VALUE, Rate, best, drive, postgres_limit
from tests.servers import PostgresServer

Entry = tuple[Any, ...]

SCHEMA = Path(__file__).with_suffix(".sql").read_text()
# The attributes of the type `entry`.
COLUMNS = {
    "run_id": "uuid",
    "seq": "int",
    "epoch": "int",
    "type": "text",
    "key": "bytea",
    "scope": "bytea",
    "branch": "text",
    "after": "bytea",
    "kind": "text",
    "name": "text",
    "digest": "bytea",
    "occurrence": "int",
    "promise": "text",
    "state": "text",
    "took_ms": "int",
    "value": "bytea",
    "request": "bytea",
}
NAMES = ", ".join(COLUMNS)
ARRAYS = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(COLUMNS.values(), 1))
FROM_ENTRIES = "unnest($1::entry[])"
FROM_ARRAYS = f"unnest({ARRAYS}) as t({NAMES})"
IDS_IN_ENTRIES = "in (select run_id from i)"

# The journal's statement in plain SQL. `told` is joined because a CTE that only selects and
# that nobody reads is not executed.
PLAIN = f"""
with i as materialized (select * from {{source}}),
fence as materialized (
  select id, epoch, watched_until from runs
  where id {{ids}} and state = 'running' order by id {{lock}}),
written as (
  insert into log ({NAMES})
  select {", ".join(f"i.{name}" for name in COLUMNS)}
  from i join fence f on f.id = i.run_id and f.epoch = i.epoch
  on conflict do nothing returning run_id, seq),
told as materialized (
  select count(pg_notify('perdure', 'run:' || id)) from fence
  where watched_until > clock_timestamp()),
missing as (
  select i.run_id, i.seq, exists (
    select from fence f where f.id = i.run_id and f.epoch = i.epoch) as held
  from i where not exists (
    select from written w where w.run_id = i.run_id and w.seq = i.seq))
select m.* from told left join missing m on true where m.seq is not null
"""


@dataclass(frozen=True)
class Shape:
    """A schema, the statement that writes a batch, and how a batch becomes its arguments."""

    sql: str
    arguments: Callable[[list[Entry]], Sequence[Any]]
    schema: str = SCHEMA
    settings: tuple[str, ...] = ("plan_cache_mode = force_generic_plan", "jit = off")
    lanes: int = 1
    value: bytes = VALUE
    watched: bool = False


def tiny_entry(run: uuid.UUID, seq: int, value: bytes = VALUE) -> Entry:
    """A step's entry at epoch 1."""
    key = seq.to_bytes(12, "big")
    what = ("0.1", key, "step", "tiny", key + b"1234", 0, "reads", "done", 0)
    return (run, seq, 1, "effect", key, None, *what, value, None)


def _whole(batch: list[Entry]) -> Sequence[Any]:
    return (batch,)


def _with_ids(batch: list[Entry]) -> Sequence[Any]:
    return batch, list({entry[0] for entry in batch})


def _columns(batch: list[Entry]) -> Sequence[Any]:
    return list(zip(*batch, strict=True))


def _columns_with_ids(batch: list[Entry]) -> Sequence[Any]:
    columns = _columns(batch)
    return [*columns, list(set(columns[0]))]


def _plain(source: str, ids: str, lock: str = "for share") -> str:
    return PLAIN.format(source=source, ids=ids, lock=lock)


def _changed(old: str, new: str) -> str:
    if old not in SCHEMA:
        raise ValueError(f"the schema does not say {old!r} any more")
    return SCHEMA.replace(old, new)


def _shapes() -> dict[str, Shape]:
    chosen = Shape("select * from record($1::entry[])", _whole)
    plain = Shape(_plain(FROM_ENTRIES, "= any ($2::uuid[])"), _with_ids)
    arrays = _plain(FROM_ARRAYS, f"= any (${len(COLUMNS) + 1}::uuid[])")
    text = json.dumps({"content": [str(uuid.uuid4()) for _ in range(200)]}).encode()[:8000]
    return {
        "unfenced, an array each column": Shape(
            f"insert into log ({NAMES}) select * from {FROM_ARRAYS}", _columns
        ),
        "unfenced, array of entries": Shape(
            f"insert into log ({NAMES}) select * from {FROM_ENTRIES}", _whole
        ),
        "function (chosen)": chosen,
        "function, 2 in flight": replace(chosen, lanes=2),
        "function, every run watched": replace(chosen, watched=True),
        "function, on conflict": replace(
            chosen,
            schema=_changed(
                "select * from unnest(entries);",
                "select * from unnest(entries) on conflict do nothing;",
            ),
        ),
        "function, no lock (unsafe)": replace(
            chosen, schema=_changed("order by r.id for share", "")
        ),
        "plain SQL, = any": plain,
        "plain SQL, = any, no lock (unsafe)": replace(
            plain, sql=_plain(FROM_ENTRIES, "= any ($2::uuid[])", "")
        ),
        "plain SQL, an array each column": Shape(arrays, _columns_with_ids),
        "plain SQL, in (select)": Shape(_plain(FROM_ENTRIES, IDS_IN_ENTRIES), _whole),
        "plain SQL, in (select), own plans": Shape(
            _plain(FROM_ENTRIES, IDS_IN_ENTRIES),
            _whole,
            settings=("plan_cache_mode = force_custom_plan", "jit = off"),
        ),
        "8 kB values (chosen: external)": replace(chosen, value=text),
        "8 kB values, compressed": replace(
            chosen, value=text, schema=_changed("set storage external", "set storage extended")
        ),
    }


async def measure(dsn: str, shape: Shape, *, runs: int, steps: int, rounds: int) -> list[Rate]:
    """Measure one shape in the database, beside 20,000 finished runs."""
    links = [await asyncpg.connect(dsn) for _ in range(shape.lanes)]
    first = links[0]
    await first.execute("drop schema public cascade; create schema public")
    await first.execute(shape.schema)
    await first.execute(
        "insert into runs (id, agent, tenant, queue, shape, state)"
        " select gen_random_uuid(), 'a', '', 'default', 'batch', 'succeeded'"
        " from generate_series(1, 20000)"
    )
    await first.execute("vacuum analyze runs")
    free = []
    for link in links:
        for setting in shape.settings:
            await link.execute(f"set {setting}")
        free.append(await link.prepare(shape.sql))

    async def write(batch: list[Entry]) -> None:
        statement = free.pop()
        try:
            missing = await statement.fetch(*shape.arguments(batch))
        finally:
            free.append(statement)
        if missing:
            raise RuntimeError(f"not written: {missing[:3]}")

    found = []
    for _ in range(rounds + 1):
        ids = [uuid.uuid4() for _ in range(runs)]
        await first.execute(
            "insert into runs (id, agent, tenant, queue, shape, state, epoch, worker,"
            " watched_until) select unnest($1::uuid[]), 'a', '', 'default', 'batch', 'running',"
            " 1, 'w', case when $2 then clock_timestamp() + interval '1 hour' end",
            ids,
            shape.watched,
        )
        rows = [[tiny_entry(run, seq, shape.value) for seq in range(steps)] for run in ids]
        backends = [link.get_server_pid() for link in links]
        found.append(await drive(write, rows, lanes=shape.lanes, backends=backends))
        written = await first.fetchval("select count(*) from log where run_id = any ($1)", ids)
        if written != runs * steps:
            raise RuntimeError(f"{written} of {runs * steps} entries are in the log")
    for link in links:
        await link.close()
    # The first round warms up caches and plans.
    return found[1:]


async def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--runs", type=int, default=200)
    arguments.add_argument("--steps", type=int, default=100)
    arguments.add_argument("--rounds", type=int, default=7)
    chosen = arguments.parse_args()
    size: dict[str, int] = {"runs": chosen.runs, "steps": chosen.steps, "rounds": chosen.rounds}
    with PostgresServer(durable=True) as server:
        limit = best(await postgres_limit(server.dsn(), **size))
        print(f"{'bare limit (3 columns)':36} {limit}")
        for name, shape in _shapes().items():
            if not chosen.names or any(wanted in name for wanted in chosen.names):
                rate = best(await measure(server.dsn(), shape, **size))
                share = rate.per_second / limit.per_second
                print(f"{name:36} {rate} {share:5.0%}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
