"""Addresses, and what SQLite's errors become."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest

from perdure.errors import ConfigError, PerdureError, SchemaNewer, SchemaOutdated, StoreUnavailable
from perdure.store.sqlite import SqliteStore
from perdure.store.sqlite.connection import Address, translate
from tests.contract.driver import add


def test_relative_and_absolute_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = Address.parse("sqlite:///a/b.db")
    monkeypatch.chdir("/")
    assert relative.path == Path(os.path.realpath(tmp_path)) / "a/b.db"
    assert Address.parse("sqlite:////x/with%20space.db").path == Path("/x/with space.db")
    assert relative.beside(".wake").name == "b.db.wake"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///:memory:", "sqlite://:memory:", "sqlite://", "sqlite:///", "sqlite:x.db",
        "sqlite://x.db", "postgresql://localhost/x", "x.db", "sqlite:///x.db?mode=ro",
    ],
)  # fmt: skip
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        SqliteStore(url)
    assert url in refused.value.message
    assert refused.value.hint


def content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)


async def refusal(path: Path, *, check: bool = False) -> PerdureError:
    """The error of opening that file."""
    store = SqliteStore(f"sqlite:///{path}")
    with pytest.raises(PerdureError) as refused:
        await store.open(check=check)
    await store.close()
    return refused.value


async def test_the_folder_is_made(tmp_path: Path) -> None:
    store = SqliteStore(f"sqlite:///{tmp_path}/a/b/c.db")
    await store.open(check=False)
    await store.close()
    assert (tmp_path / "a/b/c.db").exists()


async def test_looking_makes_no_database(path: Path) -> None:
    assert isinstance(await refusal(path, check=True), SchemaOutdated)
    assert content(path) == b""


async def test_a_file_that_is_no_database(path: Path) -> None:
    fill(path, b"something else altogether, and long enough to be read as a header" * 20)
    before = content(path)
    error = await refusal(path)
    assert isinstance(error, ConfigError)
    assert "not a SQLite database" in error.message
    assert content(path) == before


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = await refusal(tmp_path / "file" / "perdure.db")
    assert isinstance(error, StoreUnavailable)
    assert "folder" in error.message


async def test_a_path_that_is_a_folder(tmp_path: Path) -> None:
    error = await refusal(tmp_path)
    assert isinstance(error, StoreUnavailable)
    assert "cannot be opened" in error.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_file_that_cannot_be_written(path: Path, store: SqliteStore) -> None:
    await store.close()
    await asyncio.to_thread(path.chmod, 0o400)
    error = await refusal(path)
    assert isinstance(error, StoreUnavailable)
    assert "cannot be written" in error.message


async def test_a_newer_schema_is_left_alone(path: Path, store: SqliteStore) -> None:
    await store.close()
    with sqlite3.connect(path) as link:
        link.execute("INSERT INTO schema_migrations VALUES (999, '0999_later', 0)")
    link.close()
    before = content(path)
    assert isinstance(await refusal(path, check=True), SchemaNewer)
    await store.open(check=False)
    with pytest.raises(SchemaNewer):
        await store.upgrade()
    await store.close()
    assert content(path) == before


async def test_a_damaged_file(path: Path, store: SqliteStore) -> None:
    for _ in range(20):
        await add(store, input=b"x" * 5000)
    await store.close()
    whole = content(path)
    fill(path, whole[:4096] + os.urandom(len(whole) - 4096))
    error = await refusal(path, check=True)
    assert isinstance(error, StoreUnavailable)
    assert "damaged" in error.message


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (sqlite3.SQLITE_FULL, "disk is full"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "cannot be written"),
        (sqlite3.SQLITE_IOERR_FSYNC, "cannot be read or written"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "locked by another process"),
        (sqlite3.SQLITE_CORRUPT_INDEX, "damaged"),
    ],
)
def test_errors_that_may_pass(code: int, words: str) -> None:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    meaning = translate(error, Address.parse("sqlite:////x/y.db"))
    assert isinstance(meaning, StoreUnavailable)
    assert meaning.retryable
    assert words in meaning.message
    assert "/x/y.db" in meaning.message
    assert "as SQLite says it" in meaning.message
    assert meaning.hint


def test_a_mistake_in_sql_stays_one() -> None:
    link = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as mistake:
        link.execute("SELECT nothing")
    link.close()
    assert translate(mistake.value, Address.parse("sqlite:////x/y.db")) is mistake.value
