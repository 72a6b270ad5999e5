"""Looking for what should not be, mending it, and what takes how much space."""

from __future__ import annotations

from uuid import UUID

from perdure.core.words import counted
from perdure.store.inspection import ORDER, ORPHANS, PAGE, Finding, RunsUsage, TableUsage, Usage
from perdure.store.outcome import outcome
from perdure.store.postgres.columns import to_uuid
from perdure.store.postgres.link import Database
from perdure.store.postgres.verbs.catalog import get
from perdure.store.postgres.verbs.upkeep import release

_LOOKED_AT = 10_000  # runs of one statement that looks for strays


async def inspect(database: Database) -> list[Finding]:
    """See ``Store.inspect``."""
    found = [
        Finding(row["code"], row["subject"], row["detail"] or "")
        for row in await database.rows("select * from perdure.inspect(null) order by 2")
    ]
    found.sort(key=lambda finding: ORDER[finding.code])
    for code, table in ORPHANS.items():
        found += [Finding(code, str(run)) for run in await _strays(database, table)]
    found += await _gaps(database)
    left = await database.value("select count(*) from perdure.leftovers")
    if left:
        found.append(Finding("leftover", "", f"of {counted(left, 'run')}"))
    return found


async def _strays(database: Database, table: str) -> list[UUID]:
    found: list[UUID] = []
    after: UUID | None = UUID(int=0)
    while after is not None:
        rows = await database.rows(
            "select * from perdure.strays($1, $2, $3)", table, after, _LOOKED_AT
        )
        found += [row["run"] for row in rows if row["stray"]]
        after = rows[-1]["run"] if rows and not rows[-1]["stray"] else None
    return found


_GAPS = """
select r.n, r.id, r.since, l.count, l.first, l.last
from (select n, id, since from perdure.runs where n > $1 order by n limit $2) r
cross join lateral (
  select count(*) as count, min(l.seq) as first, max(l.seq) as last
  from perdure.log l where l.run_id = r.id
) l
order by r.n
"""


async def _gaps(database: Database) -> list[Finding]:
    found: list[Finding] = []
    after = -1
    while True:
        rows = await database.rows(_GAPS, after, PAGE)
        for _, run, since, count, first, last in rows:
            whole = not count or (last - first + 1 == count and (first == 1 or first <= since))
            if not whole:
                found.append(
                    Finding("gap", str(run), f"{counted(count, 'row')} from {first} to {last}")
                )
        if len(rows) < PAGE:
            return found
        after = rows[-1]["n"]


async def mend(database: Database, finding: Finding) -> bool:
    """See ``Store.mend``."""
    code, subject = finding.code, finding.subject
    if code in ORPHANS:
        return bool(
            await database.value(
                "insert into perdure.leftovers (run) select $1 where not exists"
                " (select from perdure.runs r where r.id = $1) on conflict do nothing returning 1",
                to_uuid(subject),
            )
        )
    if code == "stranger":
        still = await database.value(
            "select exists (select from perdure.inspect($1) where code = 'stranger')",
            to_uuid(subject),
        )
        if still:
            await release(database, finding.detail, died=True, gone=False)
        return bool(still)
    child, report = None, None
    if code == "missed_child":
        child = to_uuid(finding.detail)
        ended = await get(database, finding.detail, True)
        error = await database.value("select error from perdure.runs where id = $1", child)
        report = outcome(ended.state, ended.result, error)
    return bool(
        await database.value(
            "select perdure.mend($1, $2, $3, $4)", code, to_uuid(subject), child, report
        )
    )


_TABLES = """
select c.relname as name, pg_total_relation_size(c.oid) as size,
       greatest(c.reltuples, s.n_live_tup)::bigint as about
from pg_class c left join pg_stat_all_tables s on s.relid = c.oid
where c.relnamespace = 'perdure'::regnamespace and c.relkind = 'r'
  and c.relname <> 'schema_migrations'
order by 2 desc, 1
"""
_EXACT = 100_000  # rows, over which a count is an estimate


async def usage(database: Database) -> Usage:
    """See ``Store.usage``."""
    tables = []
    for name, size, about in await database.rows(_TABLES):
        exact = about <= _EXACT
        rows = await database.value(f"select count(*) from perdure.{name}") if exact else about
        tables.append(TableUsage(name, int(rows), int(size), exact))
    runs = await database.rows(
        "select agent, state, count(*), min(created_at) from perdure.runs group by agent, state"
        ' order by agent collate "C", state collate "C"'
    )
    return Usage(sum(table.size or 0 for table in tables), tables, [RunsUsage(*r) for r in runs])
