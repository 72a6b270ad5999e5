"""The page on leaving names every table there is, and what it says of them is so."""

from __future__ import annotations

import inspect
import re
import sqlite3
from pathlib import Path

import pytest

from perdure.store import make_store, migrations
from perdure.store.postgres import schema as postgres_schema
from perdure.store.sqlite import schema as sqlite_schema
from tests.docs.pages import ROOT
from tests.servers import PostgresServer, offered
from tests.unit.cli.parked import park

PAGE = (ROOT / "docs/guides/leaving.md").read_text("utf-8")
TABLES = re.findall(r"^\| `(\w+)` \| (?!take|does)(.+) \|$", PAGE, re.MULTILINE)
CREATE = re.compile(r"create table (?:if not exists )?(?:perdure\.)?(\w+)", re.IGNORECASE)


def _made(text: str) -> set[str]:
    return set(CREATE.findall(text)) - set(re.findall(r"drop table (?:perdure\.)?(\w+)", text))


def test_every_table_is_in_the_page_and_none_more() -> None:
    sqlite = _made("".join(m.sql for m in migrations.available("sqlite")))
    postgres = _made("".join(m.sql for m in migrations.available("postgres")))
    for dialect, module in ((sqlite, sqlite_schema), (postgres, postgres_schema)):
        dialect |= _made(inspect.getsource(module))
    told = {name for name, _ in TABLES}
    assert told == sqlite | postgres
    assert "schema_migrations" in told & postgres & sqlite
    assert all(len(what) > 10 for _, what in TABLES)


def test_columns_that_the_page_names_are_there() -> None:
    sql = "".join(m.sql for m in migrations.available("postgres"))
    named = re.search(r"Inputs, results and values \((.+?)\)", PAGE)
    assert named is not None
    for column in re.findall(r"`(\w+)`", named[1]):
        assert re.search(rf"^\s+{column} bytea", sql, re.MULTILINE), column


@pytest.fixture
def queries() -> list[str]:
    found = re.findall(r"```sql\n(.+?)```", PAGE, re.DOTALL)
    return [query for block in found for query in block.split(";") if query.strip()]


AGENT = """
import perdure

@perdure.tool
async def book(n: int) -> str:
    return f"seat {n}"

async def clerk(n: int) -> str:
    return await book(n)
"""


def test_the_queries_for_sqlite_read_results(
    queries: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clerks.py").write_text(AGENT)
    (run_id,) = park("clerks.py:clerk", "clerk", [4])
    (query,) = [query for query in queries if "unixepoch" in query]
    with sqlite3.connect(".perdure/perdure.db") as link:
        (row,) = link.execute(query)
    assert (row[0], row[1], row[2], row[4]) == (run_id, "clerk", "succeeded", '"seat 4"')


async def test_the_queries_for_postgres_read_results_and_the_schema_goes_in_one(
    queries: list[str], tmp_path: Path
) -> None:
    import asyncio

    import asyncpg

    with offered(PostgresServer()) as server:
        url = server.dsn(server.create_database())
        (tmp_path / "clerks.py").write_text(AGENT)
        ids = await asyncio.to_thread(park, f"{tmp_path}/clerks.py:clerk", "clerk", [4], url=url)
        results, tools = (query for query in queries if "unixepoch" not in query)
        link = await asyncpg.connect(url)
        (row,) = await link.fetch(results)
        assert (str(row["id"]), row["agent"], row["result"]) == (ids[0], "clerk", '"seat 4"')
        rows = await link.fetch(tools.replace("…", ids[0]))
        assert rows[-1]["value"] == '"seat 4"'
        await link.execute("drop schema perdure cascade")
        left = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        left += "where n.nspname not like 'pg_%' and n.nspname <> 'information_schema'"
        assert await link.fetchval(left) == 0
        await link.close()
        store = make_store(url)
        await store.open(check=False)
        assert (await store.schema())[0] == 0
        await store.close()
