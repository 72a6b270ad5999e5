"""A database that a released version left is upgraded, and its runs are all there.

Until the first release the frozen schema is today's: whoever edits a migration freezes it anew.
From the first release on its files stay, and so must the migrations that they were made by.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import asyncpg
import pytest

from perdure.core.run import RunState
from perdure.core.shared import Swap
from perdure.errors import SchemaNewer
from perdure.store import Store, make_store, migrations
from perdure.store.costs import CostFilter
from perdure.store.rows import Filter, Idempotency
from tests.contract.driver import Database, claim, new, row, settle, statuses
from tests.contract.schemas import freeze

FILES = sorted(freeze.FOLDER.glob("[0-9]*-*.sql"))
AGAIN = "python -m tests.contract.schemas.freeze"


def of(path: Path) -> str:
    return path.stem.partition("-")[2]


def _text(path: Path) -> str:
    return path.read_text("utf-8")


async def load(database: Database, path: Path) -> None:
    """The frozen file, as a database."""
    text = _text(path)
    if of(path) == "sqlite":
        link = sqlite3.connect(database.url.removeprefix("sqlite:///"))
        link.executescript(text)
        link.close()
        return
    server = await asyncpg.connect(database.url)
    await server.execute(text)
    await server.close()


async def schema(database: Database) -> list[tuple[str, ...]]:
    """What the database is made of."""
    if database.url.startswith("sqlite:"):
        link = sqlite3.connect(database.url.removeprefix("sqlite:///"))
        rows = link.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
        ).fetchall()
        link.close()
        # An added column comes without the comments of a table's first text.
        return sorted((kind, name, _bare(sql or "")) for kind, name, sql in rows)
    server = await asyncpg.connect(database.url)
    rows = await server.fetch("""
        select 'column' as kind, c.relname || '.' || a.attname as name,
               format_type(a.atttypid, a.atttypmod) || a.attnotnull || a.attstorage::text
                 || coalesce(pg_get_expr(d.adbin, d.adrelid), '') as is
        from pg_class c join pg_attribute a on a.attrelid = c.oid
        left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
        where c.relnamespace = 'perdure'::regnamespace and a.attnum > 0 and not a.attisdropped
        union all
        select 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid)
        from pg_proc p where p.pronamespace = 'perdure'::regnamespace
        union all
        select 'index', i.indexname, i.indexdef from pg_indexes i where i.schemaname = 'perdure'
        union all
        select 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
        from pg_constraint where connamespace = 'perdure'::regnamespace
        union all
        select 'options', relname, reloptions::text from pg_class
        where relnamespace = 'perdure'::regnamespace and reloptions is not null
        order by 1, 2, 3
    """)
    await server.close()
    return [tuple(row) for row in rows]


def _bare(sql: str) -> str:
    lines = [line.partition("--")[0] for line in sql.splitlines()]
    return " ".join(" ".join(lines).split()).replace("( ", "(").replace(" )", ")")


def test_there_is_one_of_each() -> None:
    """So that the tests below are not empty."""
    for name in freeze.DIALECTS:
        mine = [path.name for path in FILES if of(path) == name]
        assert mine == [f"{n:04d}-{name}.sql" for n in range(1, len(mine) + 1)]
        assert mine


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_migrations_it_was_made_by_are_as_they_were(path: Path) -> None:
    """A released migration is never changed: databases that have it do not get it again."""
    version, made_by = freeze.made_by(path)
    now = freeze.migrations_of(freeze.header(of(path)))
    hint = f"{path.name} is of {version}; "
    if freeze.released(version):
        hint += "released migrations stay as they are: add a new one"
    else:
        hint += f"nothing was released yet, so just freeze again: {AGAIN}"
    assert {name: now.get(name) for name in made_by} == made_by, hint


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nobody_freezes_a_released_one_again(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freeze, "FOLDER", tmp_path)
    name = of(path)
    first = tmp_path / f"0001-{name}.sql"
    assert freeze.place(name) == first
    first.write_text("-- perdure 0.1.0.dev0\n")
    assert freeze.place(name) == first
    second = tmp_path / f"0002-{name}.sql"
    first.write_text("-- perdure 0.1.0\n")
    assert freeze.place(name) == second
    unreleased = "-- perdure 0.1.0.dev0\n"
    whole = freeze.header(name).partition("\n")[2]
    first.write_text(unreleased + whole)
    assert freeze.place(name) == first
    # Migrations were added; now also one was edited.
    less = "".join(whole.splitlines(keepends=True)[:-1])
    first.write_text(unreleased + less)
    assert freeze.place(name) == second
    first.write_text(unreleased + less.replace("0001_", "0001_other_"))
    assert freeze.place(name) == first


@pytest.mark.parametrize("number", sorted({path.name[:4] for path in FILES}))
async def test_an_upgraded_database_is_like_a_new_one(
    empty: Database, number: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    name = "sqlite" if empty.url.startswith("sqlite:") else "postgres"
    path = freeze.FOLDER / f"{number}-{name}.sql"
    await load(empty, path)
    async with empty.opened(check=False) as store:
        await store.upgrade()
        assert (await store.schema())[0] == migrations.needed(name)
    if name == "sqlite":
        fresh = Database(f"sqlite:///{tmp_path}/fresh.db")
        await fresh.upgrade()
    else:
        fresh = await request.getfixturevalue("postgres").database(empty=False)
    assert await schema(empty) == await schema(fresh), f"if nothing was released yet: {AGAIN}"


@pytest.mark.parametrize("number", sorted({path.name[:4] for path in FILES}))
async def test_its_runs_go_on(empty: Database, number: str) -> None:
    name = "sqlite" if empty.url.startswith("sqlite:") else "postgres"
    await load(empty, freeze.FOLDER / f"{number}-{name}.sql")
    async with empty.opened(check=False) as store:
        await store.upgrade()
    async with empty.opened() as store:
        await _read(store)
        if number >= "0002":
            await _read_gateway(store)
        await _go_on(store)
        codes = {finding.code for finding in await store.inspect()}
        assert codes <= {"stranger"}, codes


async def _read(store: Store) -> None:
    ids = freeze.RUNS
    runs = {run.id: run for run in await store.find(Filter(limit=100))}
    assert set(ids.values()) <= set(runs)
    for state in ("succeeded", "waiting", "blocked", "dead", "cancelled"):
        run = await store.get(ids[state])
        assert (run.state.value, run.agent, run.tenant) == (state, "agent", "acme")
        assert (run.labels, run.input) == ({"team": "a"}, b'"input"')
    done = await store.get(ids["succeeded"])
    assert done.result == b'{"answer":42}'
    (kept,) = await store.journal(ids["succeeded"])
    assert (kept.key, kept.value, kept.seq) == (b"first", b'"succeeded"', 1)
    assert len(await store.events(ids["succeeded"])) >= 2
    key = Idempotency("key", b"body")
    (same,) = await store.enqueue([new(tenant="acme", idempotency=key)])
    assert (same.id, same.deduplicated) == (ids["succeeded"], True)
    assert (await store.get(ids["dead"])).error == {"message": "no"}
    continued = await store.get(ids["continued"])
    assert (continued.generation, continued.input) == (2, b'"second"')
    assert await store.journal(ids["continued"]) == []
    assert [agent.name for agent in await store.agents()] == ["agent"]
    assert [key.name for key in await store.keys()] == ["ci"]


async def _read_gateway(store: Store) -> None:
    (found,) = await store.costs(CostFilter(by=("run_id",)))
    assert (found.group["run_id"], found.cost) == (freeze.RUNS["running"], 42)
    key = "halt/agent/agent"
    halt = (await store.swap([key])).documents[key]
    assert halt.body == b'{"why":"frozen"}'
    assert (await store.swap([], [Swap(key, halt.version, b"")])).done


async def _go_on(store: Store) -> None:
    ids = freeze.RUNS
    (unread,) = await store.signals(ids["waiting"])
    assert (unread.name, unread.payload) == ("other", b'"kept"')
    await store.signal(ids["waiting"], "go", b"1")
    await store.redrive(ids["dead"])
    leases = {lease.run_id: lease for lease in await claim(store)}
    ready = ("waiting", "queued", "dead", "continued", "running")
    assert set(leases) == {ids[name] for name in ready}
    for name in ready:
        lease = leases[ids[name]]
        assert await store.record([row(lease, lease.next_seq)]) == []
        assert await settle(store, lease) is RunState.SUCCEEDED
    assert (await statuses(store, ids["blocked"]))[-1] == ("queued", "session")
    (last,) = await claim(store)
    assert last.run_id == ids["blocked"]


# -- newer ones -----------------------------------------------------------------------------------


async def test_a_newer_schema_is_refused_and_left_alone(database: Database) -> None:
    newer = 9999
    insert = f"INSERT INTO {{}}schema_migrations VALUES ({newer}, '9999_future', {{}})"
    if database.url.startswith("sqlite:"):
        link = sqlite3.connect(database.url.removeprefix("sqlite:///"), isolation_level=None)
        link.execute(insert.format("", "0"))
        link.close()
    else:
        server = await asyncpg.connect(database.url)
        await server.execute(insert.format("perdure.", "now()"))
        await server.close()
    before = await schema(database)
    store = make_store(database.url)
    with pytest.raises(SchemaNewer) as refused:
        await store.open()
    assert refused.value.detail["version"] == newer
    assert "Nothing was touched" in refused.value.message
    assert "Upgrade the perdure package" in (refused.value.hint or "")
    async with database.opened(check=False) as opened:
        with pytest.raises(SchemaNewer):
            await opened.upgrade()
    assert await schema(database) == before
