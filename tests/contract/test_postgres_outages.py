"""PostgreSQL only: a database that restarts, hangs or cannot be reached delays, and loses nothing.

Each test has a server of its own to mistreat, some with a proxy before it that can swallow what is
sent, as a cut network does.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from perdure.core.run import RunState
from perdure.errors import ConfigError, StoreUnavailable
from perdure.runtime.recorder import Recorder
from perdure.store import Store, make_store
from perdure.store.postgres.link import Link
from perdure.store.rows import Lease, Settlement
from tests.contract.driver import (
    PATIENCE_S,
    Child,
    Database,
    Heard,
    add,
    claim,
    claim_one,
    entry,
    info,
    new,
    outcome,
    row,
    seqs,
    settle,
    started,
    state_of,
)
from tests.servers import PostgresServer, StopMode, offered

LEASE = timedelta(seconds=2)
GRACE = timedelta(seconds=0.1)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with offered(PostgresServer()) as server:
        yield server


@pytest.fixture
async def database(server: PostgresServer) -> Database:
    server.start()
    database = Database(server.dsn(server.create_database()))
    await database.upgrade()
    return database


class Proxy:
    """Between a store and its server."""

    def __init__(self, database: Database) -> None:
        parts = urlsplit(database.url)
        assert parts.port is not None
        self._port = parts.port
        self._parts = parts
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def database(self) -> Database:
        """The server's database as it is reached through here."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user = self._parts.netloc.rpartition("@")[0]
        return Database(urlunsplit(self._parts._replace(netloc=f"{user}@127.0.0.1:{port}")))

    def swallow(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        self._open.clear()

    def deliver(self) -> None:
        """What was held up arrives."""
        self._open.set()

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = asyncio.current_task()
        assert own is not None
        self._tasks.add(own)
        self._writers.add(writer)
        await self._open.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(far_writer)
        try:
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        finally:
            writer.transport.abort()
            far_writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@pytest.fixture
async def proxy(database: Database) -> AsyncIterator[Proxy]:
    proxy = Proxy(database)
    await proxy.start()
    yield proxy
    await proxy.close()


class Attempt:
    """Who writes through a recorder."""

    def __init__(self, lease: Lease) -> None:
        self.run_id, self.epoch, self.next_seq = lease.run_id, lease.epoch, lease.next_seq

    def lost(self) -> None:
        raise AssertionError("the lease was never another's")

    def broken(self, error: BaseException) -> None:
        raise error


async def holds(store: Store, changes: asyncio.Queue[bool]) -> bool:
    async with asyncio.timeout(PATIENCE_S):
        return await changes.get()


# -- restarts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["fast", "immediate", None])
async def test_a_restart_delays_and_loses_nothing(
    server: PostgresServer, database: Database, how: StopMode | None
) -> None:
    async with database.opened() as store:
        leases = [await started(store, "w") for _ in range(20)]
        changes: asyncio.Queue[bool] = asyncio.Queue()
        member = await store.join(info("w"), lease=LEASE, on_change=changes.put_nowait)
        recorder = Recorder(store)
        attempts = [Attempt(lease) for lease in leases]
        heard = Heard(store, "work")
        down = asyncio.Event()

        async def write(attempt: Attempt) -> None:
            for n in range(40):
                await recorder.append(attempt, entry(str(n).encode()))
                if n == 10:
                    down.set()

        writing = [asyncio.create_task(write(attempt)) for attempt in attempts]
        await down.wait()
        if how is None:
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        else:
            await asyncio.to_thread(server.restart, how)
        await asyncio.gather(*writing)
        assert await holds(store, changes) is False
        assert await holds(store, changes) is True
        assert member.holds
        await heard.something()
        assert heard.payloads == ["*"]
        for attempt in attempts:
            assert await seqs(store, attempt.run_id) == list(range(1, 41))
            assert [e.key for e in await store.journal(attempt.run_id)] == [
                str(n).encode() for n in range(40)
            ]
        ended = [Settlement(a.run_id, a.epoch, RunState.SUCCEEDED) for a in attempts]
        assert {s.state for s in await store.settle(ended)} == {RunState.SUCCEEDED}
        await add(store)
        await heard.something()
        assert heard.payloads == ["*", "default"]


async def test_a_restart_wakes_no_takeover(server: PostgresServer, database: Database) -> None:
    """Every lock is free after it, and one worker comes back late."""
    async with database.opened() as store:
        run_id = await add(store)
        changes: asyncio.Queue[bool] = asyncio.Queue()
        await store.join(info("watcher"), lease=LEASE, grace=GRACE, on_change=changes.put_nowait)
        async with Child.joined(database, "late", lease=LEASE, grace=GRACE) as late:
            assert await late.asked("claim 1") == run_id
            late.freeze()
            await asyncio.to_thread(server.restart, "immediate")
            assert await holds(store, changes) is False
            assert await holds(store, changes) is True
            assert await store.reap() == 0
            assert (await store.get(run_id)).worker == "late"
            late.thaw()
            assert await late.says() == "holds False"
            assert await late.says() == "holds True"
            assert await late.asked(f"record {run_id} 1 1") == "[]"
            assert await state_of(store, run_id) is RunState.RUNNING


async def test_who_dies_while_the_server_is_away_is_taken_over(
    server: PostgresServer, database: Database
) -> None:
    async with database.opened() as store:
        run_id = await add(store)
        heard = Heard(store, "work")
        await store.join(info("watcher"), lease=LEASE, grace=GRACE)
        async with Child.joined(database, "victim", lease=LEASE, grace=GRACE) as victim:
            assert await victim.asked("claim 1") == run_id
            await asyncio.to_thread(server.stop, "immediate")
            await victim.kill()
            await asyncio.to_thread(server.start)

            async def queued() -> bool:
                return await state_of(store, run_id) is RunState.QUEUED

            await heard.until(queued)
            assert (await claim_one(store, "watcher")).epoch == 2


async def test_a_server_that_is_down_says_so(server: PostgresServer, database: Database) -> None:
    async with database.opened() as store:
        run_id = await add(store)
        await asyncio.to_thread(server.stop, "immediate")
        place = f"127.0.0.1:{server.port}"
        for call in (store.get(run_id), store.record([]), store.enqueue([]), store.now()):
            with contextlib.suppress(StoreUnavailable):
                await call
        with pytest.raises(StoreUnavailable, match=place):
            await store.get(run_id)
        with pytest.raises(StoreUnavailable, match=place):
            await make_store(database.url).open()
        await asyncio.to_thread(server.start)
        assert (await store.get(run_id)).id == run_id


# -- the network ----------------------------------------------------------------------------------


async def test_cut_connections_come_back(proxy: Proxy) -> None:
    async with proxy.database.opened() as store:
        lease = await started(store)
        heard = Heard(store, "work")
        proxy.cut()
        await heard.something()
        assert await store.record([row(lease, 1)]) == []
        assert await settle(store, lease) is RunState.SUCCEEDED


async def test_whenever_a_connection_breaks_the_store_says_so(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver stumbles in many ways; a caller sees one."""
    monkeypatch.setattr("perdure.store.postgres.link.LONGEST_PAUSE_S", 0.001)
    chance = random.Random(1)
    async with proxy.database.opened() as store:
        lease, lost = await started(store), await started(store, "lost")
        await store.release("lost")
        for n in range(150):
            proxy.cut()
            calls = [
                store.get(lease.run_id),
                store.enqueue([new(queue=f"q{n}")]),
                store.record([row(lease, 1)]),
                store.settle([outcome(lost)]),
                store.claim("w", [f"q{n}"], 3, idle=True),
                store.wake_due(),
                store.reap(),
            ]
            tasks = [asyncio.ensure_future(call) for call in calls]
            for _ in range(chance.randrange(300)):
                await asyncio.sleep(0)
            proxy.cut()
            for answer in await asyncio.gather(*tasks, return_exceptions=True):
                assert not isinstance(answer, BaseException) or isinstance(
                    answer, StoreUnavailable
                ), repr(answer)
        assert len(await store.journal(lease.run_id)) <= 1


async def test_a_silent_network_blocks_nobody_for_ever(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxy.database.opened() as store:
        lease = await started(store)
        await store.record([row(lease, 1)])
        monkeypatch.setattr("perdure.store.postgres.link.COMMAND_S", 0.2)
        monkeypatch.setattr("perdure.store.postgres.link.CONNECT_S", 0.2)
        proxy.swallow()
        calls = (store.record([row(lease, 2)]), store.get(lease.run_id), claim(store, queue="q"))
        for call in calls:
            with pytest.raises(StoreUnavailable, match="in time"):
                await call
        monkeypatch.undo()
        proxy.deliver()
        # What was sent before may have arrived: the same again is no second row.
        assert await store.record([row(lease, 2)]) == []
        assert await seqs(store, lease.run_id) == [1, 2]


async def test_an_outage_of_a_minute_orphans_nobody(database: Database, proxy: Proxy) -> None:
    """Both workers are cut off for longer than their lease; the first to come back must not
    take the other for dead."""
    async with proxy.database.opened() as store, proxy.database.opened() as other:
        lease = await started(other, "other")
        mine: asyncio.Queue[bool] = asyncio.Queue()
        theirs: asyncio.Queue[bool] = asyncio.Queue()
        await store.join(info("mine"), lease=LEASE, grace=GRACE, on_change=mine.put_nowait)
        await other.join(info("other"), lease=LEASE, grace=GRACE, on_change=theirs.put_nowait)
        proxy.swallow()
        assert await holds(store, mine) is False
        assert await holds(other, theirs) is False
        store.shift_clock(timedelta(minutes=1))
        other.shift_clock(timedelta(minutes=1))
        reaping = asyncio.create_task(store.reap())
        proxy.deliver()
        assert await reaping == 0
        assert await holds(store, mine) is True
        assert await holds(other, theirs) is True
        assert await store.reap() == 0
        assert await other.reap() == 0
        assert await other.record([row(lease, 1)]) == []
        assert await settle(other, lease) is RunState.SUCCEEDED


async def test_a_lock_that_is_lost_is_taken_back(proxy: Proxy, database: Database) -> None:
    """Only this worker's connections break. Its runs stay its own."""
    async with proxy.database.opened() as store, database.opened() as watcher:
        lease = await started(store, "cut")
        changes: asyncio.Queue[bool] = asyncio.Queue()
        await watcher.join(info("watcher"), lease=LEASE, grace=timedelta(seconds=1))
        member = await store.join(info("cut"), lease=LEASE, on_change=changes.put_nowait)
        for _ in range(3):
            proxy.cut()
            assert await holds(store, changes) is False
            assert await holds(store, changes) is True
            assert member.holds
        assert await settle(store, lease) is RunState.SUCCEEDED


# -- addresses ------------------------------------------------------------------------------------


async def test_what_only_a_person_can_mend_is_told_at_once(server: PostgresServer) -> None:
    unknown = make_store(server.dsn("no_such_database"))
    with pytest.raises(ConfigError, match="no_such_database"):
        await unknown.open()
    server.psql("create role limited login")
    database = server.create_database()
    store = make_store(server.dsn(database).replace("perdure@", "limited:geheim@"))
    await store.open(check=False)
    with pytest.raises(ConfigError, match="permission denied"):
        await store.upgrade()
    await store.close()


async def test_a_wrong_password_is_told_and_never_shown(server: PostgresServer) -> None:
    assert server.folder is not None
    rules = server.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    server.psql("create role secretive login password 'richtig'")
    try:
        rules.write_text(f"host all secretive 127.0.0.1/32 scram-sha-256\n{before}")
        server.psql("select pg_reload_conf()")
        url = server.dsn().replace("perdure@", "secretive:geheim@")
        store = make_store(url)
        assert "geheim" not in store.url
        with pytest.raises(ConfigError) as caught:
            await store.open()
        assert "geheim" not in f"{caught.value!r} {caught.value.hint} {caught.value.__cause__!r}"
        right = make_store(url.replace("geheim", "richtig"))
        await right.open(check=False)
        await right.close()
    finally:
        rules.write_text(before)
        server.psql("select pg_reload_conf()")


async def test_an_idle_worker_asks_little(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round of an idle worker is one statement, so that it asks less than twice a second:
    lead and wake_due each 3 s, reap each 6 s, claim each 5 s, and four beats a lease."""
    asked: list[str] = []
    async with database.opened() as store:
        await started(store, "busy")
        await store.lead("w", LEASE)
        await store.reap()
        real = Link.call

        async def counted(self: Link, body: Any, timeout_s: float = 0) -> Any:
            asked.append("")
            return await real(self, body, timeout_s)

        monkeypatch.setattr(Link, "call", counted)
        await store.lead("w", LEASE)
        await store.wake_due()
        await store.reap()
        await claim(store)
        assert len(asked) == 4
