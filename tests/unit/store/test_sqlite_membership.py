"""Membership by file locks: what a busy database, a fork or a lost file do to it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from perdure.core.run import RunState
from perdure.errors import StoreUnavailable
from perdure.store.sqlite import SqliteStore, membership
from perdure.store.sqlite.membership import FileMembership, Places
from perdure.store.sqlite.reap import FORGOTTEN
from tests.contract.driver import PATIENCE_S, Child, Database, Heard, add, info, started, state_of

LEASE = timedelta(seconds=30)
SHORT = timedelta(seconds=0.2)


class Changes:
    """What ``on_change`` said."""

    def __init__(self) -> None:
        self._said: asyncio.Queue[bool] = asyncio.Queue()

    def __call__(self, holds: bool) -> None:
        self._said.put_nowait(holds)

    async def next(self) -> bool:
        async with asyncio.timeout(PATIENCE_S):
            return await self._said.get()

    @property
    def none(self) -> bool:
        return self._said.empty()


class Beats:
    """Counts the beats of every member of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._loop = asyncio.get_running_loop()
        self._beats: asyncio.Queue[None] = asyncio.Queue()
        touch = FileMembership._touch

        def counted(member: FileMembership) -> None:
            touch(member)
            self._loop.call_soon_threadsafe(self._beats.put_nowait, None)

        monkeypatch.setattr(FileMembership, "_touch", counted)

    async def pass_by(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(count):
                await self._beats.get()


@pytest.fixture
def places(store: SqliteStore) -> Places:
    return store._places


@pytest.fixture
async def member(store: SqliteStore) -> AsyncIterator[FileMembership]:
    joined = await store.join(info("w1"), lease=LEASE)
    assert isinstance(joined, FileMembership)
    yield joined
    await joined.leave()


async def test_a_place_is_a_locked_file(member: FileMembership, places: Places) -> None:
    assert places.names() == ["w1"]
    assert not places.is_free("w1")
    assert places.capture("w1") is None
    assert not places.is_free("nobody")
    await member.leave()
    await member.leave()
    assert places.names() == []


async def test_names_need_not_be_file_names(store: SqliteStore, places: Places) -> None:
    name = "host/1:ä b"
    member = await store.join(info(name), lease=LEASE)
    assert places.names() == [name]
    assert [worker["id"] for worker in await store.workers()] == [name]
    await member.leave()


async def test_a_name_is_taken_once(
    store: SqliteStore, member: FileMembership, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "TAKE_S", 0.02)
    with pytest.raises(StoreUnavailable, match="w1"):
        await store.join(info("w1"), lease=LEASE)
    assert member.holds


async def test_a_busy_writer_does_not_starve_a_member(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, beats = Changes(), Beats(monkeypatch)
    member = await store.join(info("w1"), lease=SHORT, on_change=changes)
    rival = sqlite3.connect(path, isolation_level=None)
    rival.execute("BEGIN IMMEDIATE")
    stuck = asyncio.create_task(add(store))  # the writing thread is stuck as well
    await beats.pass_by(10)  # two and a half leases
    assert member.holds
    assert changes.none
    assert not stuck.done()
    rival.execute("ROLLBACK")
    rival.close()
    await stuck
    await member.leave()


async def test_a_member_that_stood_still_knows_before_any_thread_does(
    member: FileMembership,
) -> None:
    assert (member.holds, member.thawed) == (True, False)
    member._beat -= LEASE.total_seconds()
    assert (member.holds, member.thawed) == (False, True)


async def test_a_member_that_stood_still_says_so_and_joins_again(store: SqliteStore) -> None:
    changes = Changes()
    member = await store.join(info("w1"), lease=LEASE, on_change=changes)
    assert isinstance(member, FileMembership)
    await store._writer.write(lambda tx: tx.run("DELETE FROM workers"))
    member._beat -= LEASE.total_seconds()
    member._turn.set()
    assert await changes.next() is False
    assert await changes.next() is True
    assert member.holds
    assert [worker["id"] for worker in await store.workers()] == ["w1"]
    assert member.thawed  # others only seem late for now
    await member.leave()


async def test_a_member_whose_file_is_lost_makes_it_anew(
    store: SqliteStore, places: Places
) -> None:
    changes = Changes()
    member = await store.join(info("w1"), lease=SHORT, on_change=changes)
    places.remove("w1")
    assert await changes.next() is False
    assert await changes.next() is True
    assert member.holds
    assert places.names() == ["w1"]
    assert not places.is_free("w1")
    await member.leave()


async def test_a_member_released_by_mistake_joins_again(store: SqliteStore) -> None:
    changes = Changes()
    member = await store.join(info("w1"), lease=SHORT, on_change=changes)
    await store.release("w1")
    assert await changes.next() is False
    assert await changes.next() is True
    assert [worker["id"] for worker in await store.workers()] == ["w1"]
    await member.leave()


async def test_who_stood_still_takes_nobody_over_for_being_late(
    store: SqliteStore, member: FileMembership
) -> None:
    other = SqliteStore(store.url)
    await other.open()
    their = await other.join(info("w2"), lease=LEASE)
    lease = await started(other, "w2")
    store.shift_clock(LEASE * 2)
    member._thawed = time.clock_gettime(membership._CLOCK)
    assert await store.reap() == 0
    member._thawed = float("-inf")
    assert await store.reap() == 1
    assert await state_of(store, lease.run_id) is RunState.QUEUED
    await their.leave()
    await other.close()


async def test_one_does_not_reap_oneself(store: SqliteStore, member: FileMembership) -> None:
    lease = await started(store, "w1")
    store.shift_clock(LEASE * 2)
    assert await store.reap() == 0
    assert await state_of(store, lease.run_id) is RunState.RUNNING
    assert member.holds


async def test_what_a_dead_machine_left_is_reaped(
    path: Path, store: SqliteStore, places: Places
) -> None:
    """Rows and unlocked files, as after a power cut, and no neighbour to notice."""
    crashed = await store.join(info("w1"), lease=LEASE)
    assert isinstance(crashed, FileMembership)
    lease = await started(store, "w1")
    for flag in (crashed._stop, crashed._turn, crashed._look):
        flag.set()
    os.close(crashed._handle)
    store._memberships.clear()
    (places.folder / "litter").touch()

    store.shift_clock(LEASE * 2)
    assert await store.reap() == 1
    assert (await store.get(lease.run_id)).state is RunState.QUEUED
    (again,) = (await store.claim("w2", ["default"], 9, idle=True)).leases
    assert again.gone  # its lock was free
    assert places.names() == ["litter"]  # young files may be someone who is joining
    store.shift_clock(timedelta(microseconds=FORGOTTEN))
    await store.reap()
    assert places.names() == []


async def test_a_takeover_does_not_wait_for_the_lease(path: Path, store: SqliteStore) -> None:
    heard = Heard(store, "work")
    member = await store.join(info("w1"), lease=timedelta(hours=1), grace=timedelta(0))
    run_id = await add(store)
    database = Database(store.url)
    async with Child.joined(database, "w2", lease=timedelta(hours=1), grace=timedelta(0)) as child:
        assert await child.asked("claim 1") == run_id
        await child.kill()
        await heard.until(lambda: is_queued(store, run_id))
    await member.leave()


async def is_queued(store: SqliteStore, run_id: str) -> bool:
    return await state_of(store, run_id) is RunState.QUEUED


FORKING = """
import asyncio, os, sys
from datetime import timedelta
from perdure.store import make_store
from perdure.store.rows import WorkerInfo

async def main():
    store = make_store(sys.argv[1])
    await store.open()
    await store.join(WorkerInfo("w2", "h", os.getpid(), "0"), lease=timedelta(hours=1))
    claimed = await store.claim("w2", ["default"], 1, idle=True)
    child = os.fork()
    if child == 0:
        os.read(0, 1)  # outlives its parent, until the test closes the pipe
        os._exit(0)
    print(os.getpid(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.kill
async def test_a_forked_child_does_not_keep_its_dead_parents_place(store: SqliteStore) -> None:
    heard = Heard(store, "work")
    member = await store.join(info("w1"), lease=timedelta(hours=1), grace=timedelta(0))
    run_id = await add(store)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-c", FORKING, store.url,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    pid = int(await process.stdout.readline())
    os.kill(pid, signal.SIGKILL)
    await heard.until(lambda: is_queued(store, run_id))
    process.stdin.close()
    await process.wait()
    await member.leave()


async def test_a_member_waits_asleep(
    store: SqliteStore, member: FileMembership, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two beats nothing wakes: a neighbour is waited for in the kernel."""
    other = await store.join(info("w2"), lease=LEASE)
    looks: list[str] = []
    free = Places.is_free

    def counted(places: Places, worker: str) -> bool:
        looks.append(worker)
        return free(places, worker)

    monkeypatch.setattr(Places, "is_free", counted)
    beats = Beats(monkeypatch)
    third = await store.join(info("w3"), lease=SHORT)  # its beats are the time that passes
    await beats.pass_by(12)
    await third.leave()
    # Each joining and leaving makes everyone look once at each other; w3 looks twice a lease.
    assert looks.count("w3") <= 6
    await other.leave()
