"""PostgreSQL only: workers whose lock is not what it seems."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import struct
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from perdure.core.run import RunState
from tests.contract.conftest import Postgres
from tests.contract.driver import (
    PATIENCE_S,
    Child,
    Database,
    Heard,
    add,
    claim_one,
    info,
    settle,
    started,
    state_of,
)

LEASE = timedelta(seconds=2)
GRACE = timedelta(seconds=0.1)


@pytest.fixture
async def database(postgres: Postgres) -> Database:
    return await postgres.database(empty=False)


FORKING = """
import asyncio, os, signal, sys
from datetime import timedelta
from perdure.store import make_store
from perdure.store.rows import WorkerInfo

async def main():
    store = make_store(sys.argv[1])
    await store.open()
    await store.join(WorkerInfo("parent", "host", os.getpid(), "0"), lease=timedelta(seconds=60))
    claimed = await store.claim("parent", ["default"], 1, idle=True)
    child = os.fork()
    if not child:
        signal.pause()
    print(child, claimed.leases[0].run_id, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_forked_child_does_not_keep_its_dead_parents_lock(database: Database) -> None:
    async with database.opened() as store:
        run_id = await add(store)
        heard = Heard(store, "work")
        await store.join(info("watcher"), lease=LEASE, grace=GRACE)
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FORKING, database.url, stdout=asyncio.subprocess.PIPE
        )
        assert parent.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            child, claimed = (await parent.stdout.readline()).split()
        try:
            assert claimed.decode() == run_id
            parent.kill()

            async def queued() -> bool:
                return await state_of(store, run_id) is RunState.QUEUED

            await heard.until(queued)
        finally:
            os.kill(int(child), signal.SIGKILL)
            await parent.wait()
        assert (await claim_one(store, "watcher")).gone


async def test_a_lock_that_the_server_ended_is_taken_back(database: Database) -> None:
    async with database.opened() as store, database.opened() as other:
        lease = await started(store, "mine")
        changes: asyncio.Queue[bool] = asyncio.Queue()
        await other.join(info("watcher"), lease=LEASE, grace=timedelta(seconds=1))
        member = await store.join(info("mine"), lease=LEASE, on_change=changes.put_nowait)
        link = await asyncpg.connect(database.url)
        ended = await link.fetchval(
            "select count(pg_terminate_backend(l.pid)) from pg_locks l"
            " join perdure.workers w on w.place::oid = l.objid"
            " where l.classid = 1885696612 and l.granted and l.mode = 'ExclusiveLock'"
            " and w.id = 'mine'"
        )
        await link.close()
        assert ended == 1
        async with asyncio.timeout(PATIENCE_S):
            assert [await changes.get(), await changes.get()] == [False, True]
        assert member.holds
        assert await settle(store, lease) is RunState.SUCCEEDED


class Pooler:
    """What PgBouncer's transaction mode does: every client gets one session of the server, a
    transaction at a time, and is told of a backend that does not exist."""

    def __init__(self, database: Database) -> None:
        self._parts = urlsplit(database.url)
        self._session: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._greeting = b""
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            self._session[1].transport.abort()

    @property
    def database(self) -> Database:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return Database(urlunsplit(self._parts._replace(netloc=f"perdure@127.0.0.1:{port}")))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = asyncio.current_task()
        assert own is not None
        self._tasks.add(own)
        try:
            startup = await reader.readexactly(4)
            startup += await reader.readexactly(int.from_bytes(startup) - 4)
            while startup[4:8] == struct.pack("!i", 80877103):  # no TLS here
                writer.write(b"N")
                startup = await reader.readexactly(4)
                startup += await reader.readexactly(int.from_bytes(startup) - 4)
            async with self._turn:
                if self._session is None:
                    await self._connect(startup)
            writer.write(self._greeting)
            asked: asyncio.Queue[bytes] = asyncio.Queue()
            async with asyncio.TaskGroup() as group:
                answering = group.create_task(self._answer(asked, writer))
                kind = b""
                while kind != b"X":
                    kind, message = await self._message(reader)
                    asked.put_nowait(kind + message)
                answering.cancel()
        except* (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    async def _connect(self, startup: bytes) -> None:
        assert self._parts.port is not None
        self._session = await asyncio.open_connection("127.0.0.1", self._parts.port)
        self._session[1].write(startup)
        kind = b""
        while kind != b"Z":
            kind, message = await self._message(self._session[0])
            if kind == b"K":
                message = message[:4] + struct.pack("!i", 7) + message[8:]
            self._greeting += kind + message

    async def _answer(self, asked: asyncio.Queue[bytes], writer: asyncio.StreamWriter) -> None:
        while True:
            first = await asked.get()
            async with self._turn:
                assert self._session is not None
                session_reader, session_writer = self._session
                session_writer.write(first)
                following = asyncio.create_task(self._follow(asked, session_writer))
                kind, message = b"", b""
                while (kind, message[-1:]) != (b"Z", b"I"):
                    kind, message = await self._message(session_reader)
                    writer.write(kind + message)
                following.cancel()

    async def _follow(self, asked: asyncio.Queue[bytes], session: asyncio.StreamWriter) -> None:
        """Pass on what comes while the transaction lasts."""
        while True:
            session.write(await asked.get())

    async def _message(self, reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
        kind = await reader.readexactly(1)
        size = await reader.readexactly(4)
        return kind, size + await reader.readexactly(int.from_bytes(size) - 4)


@pytest.fixture
async def pooler(database: Database) -> AsyncIterator[Pooler]:
    pooler = Pooler(database)
    await pooler.start()
    yield pooler
    await pooler.close()


async def test_behind_a_pooler_only_the_lease_counts(
    database: Database, pooler: Pooler, caplog: pytest.LogCaptureFixture
) -> None:
    async with pooler.database.opened() as pooled, database.opened() as store:
        with caplog.at_level(logging.WARNING, "perdure.store"):
            member = await pooled.join(info("pooled"), lease=LEASE, grace=GRACE)
        assert "pooler" in caplog.text
        assert member.holds
        run_id = await add(pooled)
        lease = await claim_one(pooled, "pooled")
        assert lease.run_id == run_id
        # Nobody looks for a lock that it cannot have.
        link = await asyncpg.connect(database.url)
        assert await link.fetchval("select place from perdure.workers") is None
        assert not await link.fetch("select from pg_locks where classid = 1885696612")
        await link.close()
        async with Child.joined(database, "watcher", lease=LEASE, grace=GRACE) as watcher:
            assert await watcher.asked("holds") == "True"
            assert await store.reap() == 0
            store.shift_clock(LEASE * 2)
            assert await store.reap() == 1
            store.shift_clock(-LEASE * 2)
        assert await settle(pooled, lease) is None
