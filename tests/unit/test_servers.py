"""The test servers themselves: they answer, keep what was committed, and never outlive us."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.servers import PostgresServer, RedisServer, ServerFailed, offered


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with offered(PostgresServer()) as server:
        yield server


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with offered(RedisServer(durable=True)) as server:
        yield server


async def test_both_addresses_reach_a_new_database(postgres: PostgresServer) -> None:
    name = postgres.create_database()
    for dsn in (postgres.dsn(name), postgres.socket_dsn(name)):
        link = await asyncpg.connect(dsn)
        assert await link.fetchval("select current_database()") == name
        assert await link.fetchval("show server_version_num") >= "180000"
        await link.close()


def test_a_database_is_a_copy_of_its_template(postgres: PostgresServer) -> None:
    template = postgres.create_database()
    postgres.psql("create table kept (n int); insert into kept values (7)", template)
    assert postgres.psql("table kept", postgres.create_database(template=template)) == "7"


def test_it_listens_on_loopback_alone(postgres: PostgresServer) -> None:
    assert postgres.psql("show listen_addresses") == "127.0.0.1"


def test_commits_survive_kill_and_stop_in_every_mode() -> None:
    with PostgresServer() as server:
        server.psql("create table kept (n int)")
        port = server.port
        server.psql("insert into kept values (1)")
        server.kill()
        assert not server.running
        with pytest.raises(ServerFailed):
            server.psql("select 1")
        server.start()
        server.psql("insert into kept values (2)")
        server.restart("immediate")
        server.psql("insert into kept values (3)")
        server.restart()
        assert server.psql("select n from kept order by n").split() == ["1", "2", "3"]
        assert server.port == port


def test_close_ends_the_process_and_removes_its_folder() -> None:
    server = PostgresServer()
    server.start()
    pid, folder = server.pid, server.folder
    assert folder is not None
    server.close()
    server.close()
    assert not Path(f"/proc/{pid}").exists()
    assert not folder.exists()


def test_a_durable_server_syncs() -> None:
    with PostgresServer(durable=True, settings={"shared_buffers": "64MB"}) as server:
        assert server.psql("show fsync") == "on"
        assert server.psql("show shared_buffers") == "64MB"


@pytest.mark.kill
def test_a_server_ends_with_a_killed_owner() -> None:
    code = (
        "import time\n"
        "from tests.servers import PostgresServer\n"
        "server = PostgresServer()\n"
        "server.start()\n"
        "print(server.pid, server.folder, server._watchdog.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    root = Path(__file__).parents[2]
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root)
    with owner:
        assert owner.stdout is not None
        pid, folder, watchdog = owner.stdout.readline().decode().split()
        ended = [_when_gone(int(one)) for one in (pid, watchdog)]
        owner.send_signal(signal.SIGKILL)
    for thread in ended:
        thread.join(20)
        assert not thread.is_alive()
    assert not Path(folder).exists()


def _when_gone(pid: int) -> threading.Thread:
    """A thread that ends when the process, which need not be our child, has ended."""

    def wait() -> None:
        handle = os.pidfd_open(pid)
        try:
            # A pidfd turns readable when its process ends.
            select.select([handle], [], [])
        finally:
            os.close(handle)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_redis_keeps_what_was_durable(redis: RedisServer) -> None:
    assert redis.url == f"redis://127.0.0.1:{redis.port}/0"
    assert _ask(redis, "SET kept 7") == "+OK"
    redis.kill()
    redis.start()
    assert _ask(redis, "GET kept").endswith("7")


def _ask(redis: RedisServer, command: str) -> str:
    with socket.create_connection(("127.0.0.1", redis.port), timeout=5) as link:
        link.sendall(command.encode() + b"\r\n")
        return link.recv(64).decode().strip()
