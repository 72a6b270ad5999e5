"""Shapes of the journal's table and of its fenced group commit, measured against the bare limit.

    python -m bench.journal_shapes [NAME...] [--runs 200] [--steps 100] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import struct
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from bench.limits import VALUE, Rate, drive, median, postgres_limit
from tests.servers import PostgresServer

RUNS = """
create table runs (
  id uuid primary key, agent text not null default 'a', tenant text not null default '',
  queue text not null default 'default', shape text not null default 'batch',
  session text, parent uuid, root uuid, batch text, depth int not null default 0,
  priority int not null default 0, state text not null, epoch int not null default 0,
  attempts int not null default 0, strikes int not null default 0, worker text,
  created_at timestamptz not null default clock_timestamp(),
  ready_at timestamptz not null default clock_timestamp(),
  wake_at timestamptz, deadline timestamptz, finished_at timestamptz,
  watched_until timestamptz, idempotency_key text, budget numeric, spent numeric,
  error text, outcome text, version text, input bytea, result bytea
) {with}
"""
LOG = """
create table log (
  run_id uuid not null, seq int not null, at timestamptz not null default clock_timestamp(),
  epoch int not null, type text not null, key bytea, scope bytea, branch text, after bytea,
  kind text, name text, digest bytea, occurrence int, promise text, state text, took_ms int,
  value bytea{storage}, request bytea, primary key (run_id, seq)
)
"""
COLUMNS = (
  ("run_id", "uuid"), ("seq", "int"), ("epoch", "int"), ("type", "text"), ("key", "bytea"),
  ("scope", "bytea"), ("branch", "text"), ("after", "bytea"), ("kind", "text"), ("name", "text"),
  ("digest", "bytea"), ("occurrence", "int"), ("promise", "text"), ("state", "text"),
  ("took_ms", "int"), ("value", "bytea"), ("request", "bytea"),
)
Entry = tuple[Any, ...]


def entry(run: uuid.UUID, seq: int) -> Entry:
  key = seq.to_bytes(12, "big")
  return (run, seq, 1, "effect", key, None, "0.1", key, "step", "tiny", key + b"1234", 0, "reads",
          "done", 0, VALUE, None)


@dataclass(frozen=True)
class Shape:
  sql: str
  encode: Callable[[list[Entry]], Sequence[Any]]
  log: str = LOG.format(storage="")
  runs: str = RUNS.format(**{"with": ""})
  setup: tuple[str, ...] = ()
  lanes: int = 1
  entry: Callable[[uuid.UUID, int], Entry] = entry
  rows: bool = True


def unzip(batch: list[Entry]) -> Sequence[Any]:
  return list(zip(*batch))


NAMES = ", ".join(name for name, _ in COLUMNS)
ARRAYS = ", ".join(f"${n}::{kind}[]" for n, (_, kind) in enumerate(COLUMNS, 1))
I_NAMES = ", ".join(f"i.{name}" for name, _ in COLUMNS)

FENCED = f"""
with i as (select * from unnest({ARRAYS}) as t({NAMES})),
fence as materialized (
  select id, epoch, watched_until from runs
  where id in (select run_id from i) and state = 'running' order by id for share),
written as (
  insert into log ({NAMES})
  select {I_NAMES} from i join fence f on f.id = i.run_id and f.epoch = i.epoch
  on conflict do nothing returning run_id, seq),
told as (select pg_notify('perdure', 'run:' || id) from fence
         where watched_until > clock_timestamp())
select i.run_id, i.seq from i
where not exists (select from written w where w.run_id = i.run_id and w.seq = i.seq)
union all select null, null from told where false
"""
# lock by = any($18): distinct ids passed separately, sorted by the client; epochs beside them
FENCED_ANY = f"""
with fence as materialized (
  select id, epoch, watched_until from runs
  where id = any ($18::uuid[]) and state = 'running' order by id for share),
i as (select * from unnest({ARRAYS}) as t({NAMES})),
written as (
  insert into log ({NAMES})
  select {I_NAMES} from i join fence f on f.id = i.run_id and f.epoch = i.epoch
  on conflict do nothing returning run_id, seq),
told as materialized (select pg_notify('perdure', 'run:' || id) from fence
         where watched_until > clock_timestamp())
select run_id, seq from i where not exists (select from written w where w.run_id = i.run_id and w.seq = i.seq)
union all select null, null from told where pg_notify is null
"""


def with_ids(batch: list[Entry]) -> Sequence[Any]:
  columns = list(zip(*batch))
  return [*columns, sorted(set(columns[0]))]


BARE_WIDE = f"insert into log ({NAMES}) select * from unnest({ARRAYS})"

SHAPES: dict[str, Shape] = {
  "wide bare": Shape(BARE_WIDE, unzip),
  "fenced in": Shape(FENCED, unzip),
  "fenced any": Shape(FENCED_ANY, with_ids),
}


async def measure(dsn: str, name: str, shape: Shape, runs: int, steps: int, rounds: int,
                  show_plan: bool = False) -> Rate:
  link = await asyncpg.connect(dsn)
  await link.execute("drop table if exists log, runs cascade")
  await link.execute(shape.runs); await link.execute(shape.log)
  # 20,000 other runs
  await link.execute("insert into runs (id, state) select gen_random_uuid(), 'succeeded' from generate_series(1, 20000)")
  await link.execute("create index on runs (priority desc, ready_at, id) where state = 'queued'")
  await link.execute("vacuum analyze runs")
  await link.close()
  pool = [await asyncpg.connect(dsn) for _ in range(shape.lanes)]
  free = []
  for link in pool:
    for each in shape.setup:
      await link.execute(each)
    free.append(await link.prepare(shape.sql))
  async def write(batch: list[Entry]) -> None:
    statement = free.pop()
    try:
      missing = await statement.fetch(*shape.encode(batch))
    finally:
      free.append(statement)
    assert not missing, missing
  found = []
  for _ in range(rounds + 1):
    ids = [uuid.uuid4() for _ in range(runs)]
    await pool[0].execute("insert into runs (id, state, epoch, worker, input) select unnest($1::uuid[]), 'running', 1, 'w1', '\\x7b7d'", ids) \
      if False else await pool[0].fetch("insert into runs (id, state, epoch, worker, input) select unnest($1::uuid[]), 'running', 1, 'w1', '\\x7b7d'", ids)
    rows = [[shape.entry(run, seq) for seq in range(steps)] for run in ids]
    before = await pool[0].fetchval("select count(*) from log")
    found.append(await drive(write, rows, lanes=shape.lanes, backends=[l.get_server_pid() for l in pool]))
    assert await pool[0].fetchval("select count(*) from log") - before == runs * steps
  for link in pool:
    await link.close()
  return median(found[1:])


async def main() -> None:
  a = argparse.ArgumentParser()
  a.add_argument("names", nargs="*")
  a.add_argument("--runs", type=int, default=200)
  a.add_argument("--steps", type=int, default=100)
  a.add_argument("--rounds", type=int, default=5)
  c = a.parse_args()
  with PostgresServer(durable=True, settings={"log_min_messages": "error"}) as server:
    bare = median(await postgres_limit(server.dsn(), runs=c.runs, steps=c.steps, rounds=c.rounds))
    print(f"{'limit':34} {bare}")
    for name, shape in SHAPES.items():
      if c.names and not any(n in name for n in c.names):
        continue
      rate = await measure(server.dsn(), name, shape, c.runs, c.steps, c.rounds)
      print(f"{name:34} {rate}  {rate.per_second / bare.per_second:4.0%}", flush=True)


if __name__ == "__main__":
  asyncio.run(main())
