"""Small writes that do not wait for the disk: at once, seen by all, on the disk soon after."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perdure.core.shared import Swap, Swapped
from perdure.errors import StoreUnavailable
from perdure.store.sqlite import SqliteStore, disk, shortcut
from perdure.store.sqlite.verbs import shared
from perdure.store.sqlite.writer import Transaction

KEY = "limits/openai/model/gpt/any"


@pytest.fixture
def rival(path: Path, store: SqliteStore) -> Iterator[sqlite3.Connection]:
    """Another process's connection."""
    link = sqlite3.connect(path, isolation_level=None)
    yield link
    link.close()


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In which each swap was made."""
    found: list[str] = []
    swap: Callable[..., Swapped] = shared.swap

    def noted(*arguments: object) -> Swapped:
        found.append(threading.current_thread().name)
        return swap(*arguments)

    monkeypatch.setattr(shared, "swap", noted)
    return found


async def changed(store: SqliteStore, key: str = KEY, body: bytes = b"{}") -> None:
    """A change of what is there by now."""
    before = (await store.swap([key])).documents[key]
    assert (await store.swap([], [Swap(key, before.version, body)])).done


async def test_limits_are_changed_where_they_are_asked_for(
    store: SqliteStore, rival: sqlite3.Connection, threads: list[str]
) -> None:
    here = threading.current_thread().name
    await changed(store, body=b"1")
    assert rival.execute("SELECT body FROM shared").fetchall() == [(b"1",)]
    assert threads == [here]


@pytest.mark.parametrize("key", ["budget/day", "breaker/openai", "halt/agent", "drill/x"])
async def test_money_and_switches_wait_for_the_disk(
    store: SqliteStore, threads: list[str], key: str
) -> None:
    await changed(store, key)
    both = [Swap(KEY, 0, b"1"), Swap("budget/other", 0, b"1")]
    assert (await store.swap([], both)).done
    assert threads == ["perdure-sqlite-writer"] * 2


async def test_where_somebody_else_writes_it_waits(
    store: SqliteStore, rival: sqlite3.Connection, threads: list[str]
) -> None:
    rival.execute("BEGIN IMMEDIATE")
    change = asyncio.create_task(changed(store))
    await asyncio.wait({change}, timeout=0.05)
    assert not change.done()
    rival.execute("ROLLBACK")
    await change
    assert threads == ["perdure-sqlite-writer"]


async def test_what_a_failing_write_wrote_is_taken_back(
    store: SqliteStore, rival: sqlite3.Connection
) -> None:
    def broken(tx: Transaction) -> None:
        tx.run("INSERT INTO shared (key, version, body) VALUES ('a', 1, x'00')")
        raise LookupError

    with pytest.raises(LookupError):
        await store._at_once(broken)
    assert rival.execute("SELECT count(*) FROM shared").fetchone() == (0,)
    await changed(store)


async def test_the_log_does_not_grow(store: SqliteStore, path: Path, threads: list[str]) -> None:
    """The writer, which keeps it short, has its turn."""
    version = 0
    for i in range(4 * shortcut.TURN):
        swapped = await store.swap([], [Swap(KEY, version, bytes([i % 256]) * 9000)])
        version = swapped.documents[KEY].version
    assert threads.count("perdure-sqlite-writer") == 3
    size = path.with_name(path.name + "-wal").stat().st_size
    assert size < 2 * 4000 * 4096 + 2**20  # what SQLite lets it grow to by itself, and a turn


async def test_it_reaches_the_disk_and_many_go_together(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(disk, "_sync", synced.append)
    for _ in range(50):
        await changed(store)
    await store.close()
    assert 1 <= len(synced) < 25


async def test_a_store_that_is_opened_again_reaches_the_disk_again(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await changed(store)
    await store.close()
    await store.open()
    synced: list[int] = []
    monkeypatch.setattr(disk, "_sync", synced.append)
    await changed(store)
    await store.close()
    assert synced


async def test_closed_is_said(store: SqliteStore) -> None:
    await store.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.swap([], [Swap(KEY, 0, b"1")])


DIES = """
import asyncio, os, signal, sys
from perdure.core.shared import Swap
from perdure.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    await store.swap([], [Swap(sys.argv[2], 0, b"survives")])
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_process_that_dies_loses_nothing(store: SqliteStore, path: Path) -> None:
    died = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", DIES, f"sqlite:///{path}", KEY], check=False
    )
    assert died.returncode == -signal.SIGKILL
    assert (await store.swap([KEY])).documents[KEY].body == b"survives"
