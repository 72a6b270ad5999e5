"""``perdure db`` as an operator uses it, on both stores: stats, check, prune, backup, restore."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.program import Place
from tests.servers import PostgresServer, offered

AGENT = """
import perdure

@perdure.step
async def grow(n: int) -> str:
    return "x" * n

async def agent(n: int) -> int:
    return len(await grow(n))

async def waits(n: int) -> str:
    text = await grow(n)
    return f"{len(text)} {await perdure.wait_for('go')}"

async def counts(n: int) -> str:
    text = await grow(n)
    if n < 12:
        await perdure.continue_as(n + 1)
    return text

app = perdure.App()
app.add(counts)
app.add(agent)
app.add(waits, park_after=0)
"""
LARGE = "300000"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    pytest.importorskip("asyncpg")
    with offered(PostgresServer()) as server:
        yield server


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    (tmp_path / "agents.py").write_text(AGENT)
    return place


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/.perdure/perdure.db"
    server: PostgresServer = request.getfixturevalue("server")
    return server.dsn(server.create_database())


def said(place: Place, url: str, *args: str, code: int = 0) -> str:
    got, out, err = place.run(*args, "--store", url)
    assert got == code, (out, err)
    return out


def upgraded(place: Place, url: str) -> None:
    said(place, url, "db", "upgrade")


def test_stats_check_and_prune(place: Place, url: str) -> None:
    upgraded(place, url)
    for n in ("10", LARGE):
        said(place, url, "run", "agents.py:app", n, "--agent", "agent")
    stats = json.loads(said(place, url, "db", "stats", "--json"))
    tables = {table["name"]: table for table in stats["tables"]}
    assert (tables["runs"]["rows"], tables["runs"]["bytes"] > 0) == (2, True)
    assert [(r["agent"], r["state"], r["count"]) for r in stats["runs"]] == [
        ("agent", "succeeded", 2)
    ]
    assert stats["blobs"]["count"] == 1
    assert stats["blobs"]["bytes"] > 300_000
    text = said(place, url, "db", "stats")
    assert "succeeded" in text
    assert "1 blob, 293 KiB" in text

    whole = json.loads(said(place, url, "db", "check", "--contents", "--json"))
    assert (whole["current"], whole["findings"]) == (True, [])
    assert "Nothing is wrong." in said(place, url, "db", "check")

    kept = said(place, url, "db", "prune", "--older-than", "1h")
    assert kept.startswith("Deleted 0 runs")
    other = said(place, url, "db", "prune", "--older-than", "0s", "--agent", "other")
    assert other.startswith("Deleted 0 runs")
    failed = said(place, url, "db", "prune", "--older-than", "0s", "--state", "failed")
    assert failed.startswith("Deleted 0 runs")
    dry = json.loads(said(place, url, "db", "prune", "--older-than", "0s", "--dry-run", "--json"))
    assert (dry["dry_run"], dry["runs"], dry["rows"]) == (True, 2, 0)
    done = json.loads(said(place, url, "db", "prune", "--older-than", "0s", "--json"))
    assert (done["runs"], done["rows"] > 4, done["blobs"]) == (2, True, 0)
    assert json.loads(said(place, url, "runs", "list", "--json"))["runs"] == []


def test_settings_decide_without_options(place: Place, url: str) -> None:
    upgraded(place, url)
    said(place, url, "run", "agents.py:app", "10", "--agent", "agent")
    code, _, err = place.run("db", "prune", "--store", url)
    assert code == 2
    assert "everything is kept" in err
    (place.folder / "perdure.toml").write_text(
        '[retention]\nsucceeded = "1h"\n[retention.agents.agent]\nsucceeded = "0s"\n'
    )
    assert said(place, url, "db", "prune").startswith("Deleted 1 run")
    assert place.run("db", "prune", "--agent", "agent", "--store", url)[0] == 2
    assert place.run("db", "prune", "--blobs", "1m", "--store", url)[0] == 2


def test_a_blob_that_is_gone_and_one_too_many(place: Place, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/.perdure/perdure.db"
    said(place, url, "run", "agents.py:app", LARGE, "--agent", "agent")
    folder = tmp_path / ".perdure/perdure.blobs"
    (blob,) = [path for path in folder.rglob("*") if path.is_file()]
    orphan = folder / "ab" / ("ab" + "0" * 62)
    orphan.parent.mkdir(exist_ok=True)
    blob.rename(orphan)
    os.utime(orphan, (0, 0))
    answer = json.loads(said(place, url, "db", "check", "--json", code=1))
    assert [(f["code"], f["repaired"]) for f in answer["findings"]] == [
        ("missing_blob", False), ("orphan_blob", False),
    ]  # fmt: skip
    assert answer["findings"][0]["subject"] == blob.name
    blob.write_bytes(b"else")
    text = said(place, url, "db", "check", "--contents", code=1)
    assert "damaged_blob (1)" in text
    assert "perdure db prune --blobs 1d" in text
    assert "1 blob" in said(place, url, "db", "prune", "--blobs", "1h")
    assert not orphan.exists()
    assert blob.exists(), "what a run refers to stays"


def test_a_repair(place: Place, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/.perdure/perdure.db"
    said(place, url, "run", "agents.py:app", "10", "--agent", "agent")
    with sqlite3.connect(tmp_path / ".perdure/perdure.db") as link:
        link.execute("UPDATE runs SET worker = 'w'")
    link.close()
    text = said(place, url, "db", "check", code=1)
    assert "holder_of_final (1)" in text
    assert "With --repair" in text
    assert said(place, url, "db", "check", "--schema")
    text = said(place, url, "db", "check", "--repair")
    assert "Repaired" in text
    assert "Nothing is wrong." in said(place, url, "db", "check")


def test_a_sqlite_store_is_backed_up_while_in_use_and_restored(
    place: Place, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/.perdure/perdure.db"
    said(place, url, "run", "agents.py:app", LARGE, "--agent", "agent")
    done = json.loads(said(place, url, "db", "backup", "copy.db", "--blobs", "saved", "--json"))
    assert (done["blobs"], done["missing"]) == (1, [])
    manifest = json.loads((tmp_path / "copy.db.blobs.json").read_text())
    assert [blob["bytes"] for blob in manifest["blobs"]] == [300_002]
    assert place.run("db", "backup", "copy.db", "--store", url)[0] == 5, "never overwritten"
    restored = tmp_path / "restored"
    restored.mkdir()
    (tmp_path / "copy.db").rename(restored / "perdure.db")
    (tmp_path / "saved").rename(restored / "perdure.blobs")
    copy = f"sqlite:///{restored}/perdure.db"
    assert "Nothing is wrong." in said(place, copy, "db", "check", "--contents")
    (run,) = json.loads(said(place, copy, "runs", "list", "--json"))["runs"]
    assert run["state"] == "succeeded"


def test_a_postgres_database_is_dumped_and_restored(
    place: Place, server: PostgresServer, tmp_path: Path
) -> None:
    """With PostgreSQL's own tools, as the guide says."""
    name = server.create_database()
    url = server.dsn(name)
    upgraded(place, url)
    said(place, url, "run", "agents.py:app", LARGE, "--agent", "agent")
    programs = server._find_programs()
    dump = ["--format=custom", "--schema=perdure", f"--file={tmp_path}/perdure.dump"]
    subprocess.run([programs / "pg_dump", *dump, url], check=True, capture_output=True)
    target = server.dsn(server.create_database())
    subprocess.run(
        [programs / "pg_restore", "--exit-on-error", f"--dbname={target}",
         f"{tmp_path}/perdure.dump"],
        check=True, capture_output=True,
    )  # fmt: skip
    assert "Nothing is wrong." in said(place, target, "db", "check", "--contents")
    (run,) = json.loads(said(place, target, "runs", "list", "--json"))["runs"]
    assert run["state"] == "succeeded"
    said(place, target, "run", "agents.py:app", "10", "--agent", "agent")
    assert place.run("db", "backup", "x.db", "--store", target)[0] == 2


def test_a_later_generation_is_replayed_offline(place: Place, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/.perdure/perdure.db"
    assert said(place, url, "run", "agents.py:app", "10", "--agent", "counts") == "x" * 12
    (run,) = json.loads(said(place, url, "runs", "list", "--json"))["runs"]
    assert run["generation"] == 3
    answer = json.loads(said(place, url, "replay", run["id"], "agents.py:app", "--json"))
    assert answer["answered"] == 1, answer
