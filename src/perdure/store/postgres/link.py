"""Connections that come back by themselves.

A ``Link`` is one connection, made when it is needed and made again after it broke. A call on it is
one statement and a transaction of its own, so a call that raised StoreUnavailable may or may not
have been carried out, and nothing is ever left open on the server. After a failure the next
attempt to connect waits a little, so that a server that comes up again is not trampled.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
import weakref
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import asyncpg

from perdure.errors import StoreUnavailable
from perdure.store.postgres.address import Address
from perdure.store.postgres.trouble import breaks, is_deadlock, translate

T = TypeVar("T")
CONNECT_S = 10.0  # how long to try to connect
COMMAND_S = 20.0  # how long a statement may take before its connection is given up
COMMAND_LIMIT = "20s"  # the same for the server, which may not know that nobody waits any more
GOODBYE_S = 1.0  # how long to wait for the server when leaving
LONGEST_PAUSE_S = 1.0  # between two attempts to connect
DEADLOCKS = 5  # how often a statement that lost a deadlock is tried again

_LIMIT = """
select case when pg_backend_pid() = $1 then set_config('statement_timeout', $2, false) end
"""

# Unlike time.monotonic this goes on while the machine sleeps.
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_time() -> float:
    """Seconds of this machine's clock that no one sets."""
    return time.clock_gettime(_BOOT)


class Clock:
    """How far this store's view of the server's clock was moved (tests do)."""

    def __init__(self) -> None:
        self.shift = timedelta(0)
        self._back: float | None = None

    def came_back(self) -> None:
        """The server answers again after it could not be reached."""
        self._back = boot_time() + self.shift.total_seconds()

    @property
    def blind(self) -> timedelta | None:
        """How long ago that was, None for never."""
        if self._back is None:
            return None
        return timedelta(seconds=boot_time() + self.shift.total_seconds() - self._back)


class Database(Protocol):
    """Whoever runs a statement: a link, or a pool of them."""

    async def rows(self, sql: str, *given: Any) -> list[Any]:
        """All rows."""

    async def row(self, sql: str, *given: Any) -> Any:
        """The first row or None."""

    async def value(self, sql: str, *given: Any) -> Any:
        """The first row's first column or None."""


class Link:
    """One connection of one event loop. One call at a time: callers take turns."""

    def __init__(
        self,
        address: Address,
        clock: Clock,
        *,
        prepared: Callable[[Any], Awaitable[None]] | None = None,
    ) -> None:
        self._address = address
        self._clock = clock
        self._prepared = prepared
        self._connection: Any = None
        self._shift = timedelta(0)
        self._turn = asyncio.Lock()
        self._failures = 0
        self._not_before = 0.0
        self._closed = False
        _links.add(self)

    @property
    def connected(self) -> bool:
        return self._connection is not None and not self._connection.is_closed()

    def after_fork(self) -> None:
        """In a forked child: its copy of the socket would keep a dead parent's session alive."""
        if self.connected:
            raw = self._connection._transport.get_extra_info("socket")
            nothing = os.open(os.devnull, os.O_RDWR)
            # Not closed: whoever holds the number would close another file by it.
            os.dup2(nothing, raw.fileno())
            os.close(nothing)

    async def rows(self, sql: str, *given: Any, timeout_s: float = 0) -> list[Any]:
        """All rows."""
        found: list[Any] = await self.call(lambda link: link.fetch(sql, *given), timeout_s)
        return found

    async def row(self, sql: str, *given: Any, timeout_s: float = 0) -> Any:
        """The first row or None."""
        return await self.call(lambda link: link.fetchrow(sql, *given), timeout_s)

    async def value(self, sql: str, *given: Any, timeout_s: float = 0) -> Any:
        """The first row's first column or None."""
        return await self.call(lambda link: link.fetchval(sql, *given), timeout_s)

    async def call(self, body: Callable[[Any], Awaitable[T]], timeout_s: float = 0) -> T:
        """Run ``body`` on the connection, for at most that long (0: COMMAND_S). Raises what
        ``translate`` makes of its errors."""
        async with self._turn:
            for left in reversed(range(DEADLOCKS)):
                connection = await self._ready()
                try:
                    async with asyncio.timeout(timeout_s or COMMAND_S):
                        return await body(connection)
                except BaseException as error:
                    lost = connection.is_closed()
                    if lost or breaks(error):
                        self._drop()
                    if is_deadlock(error) and left:
                        continue
                    if isinstance(error, Exception):
                        raise translate(error, self._address, lost=lost) from error
                    raise
            raise AssertionError("the last try returns or raises")

    async def connect(self) -> Any:
        """The connection, made if there is none."""
        async with self._turn:
            return await self._ready()

    async def close(self) -> None:
        """Say goodbye, after those who were here before; for good."""
        async with self._turn:
            self._closed = True
            connection, self._connection = self._connection, None
            if connection is None:
                return
            try:
                await connection.close(timeout=GOODBYE_S)
            except Exception:  # it is gone already
                connection.terminate()
            except BaseException:
                connection.terminate()
                raise

    def drop(self) -> None:
        """Break the connection off; the next call makes another."""
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _ready(self) -> Any:
        if self._closed:
            raise closed()
        if self._connection is not None and self._connection.is_closed():
            self._connection = None
        if self._connection is None:
            self._connection = await self._connect()
            self._shift = timedelta(0)
        if self._shift != self._clock.shift:
            self._shift = await self._move_clock(self._connection, self._clock.shift)
        return self._connection

    async def _move_clock(self, connection: Any, shift: timedelta) -> timedelta:
        try:
            await connection.execute(
                "select set_config('perdure.clock_shift', $1, false)", f"{shift.total_seconds()} s"
            )
        except BaseException as error:
            self._drop()
            if isinstance(error, Exception):
                raise translate(error, self._address, lost=True) from error
            raise
        return shift

    async def _connect(self) -> Any:
        pause = self._not_before - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        connection: Any = None
        try:
            async with asyncio.timeout(CONNECT_S):
                connection = await asyncpg.connect(
                    self._address.dsn,
                    timeout=CONNECT_S,
                    server_settings={"application_name": self._address.process},
                )
                _keep_alive(connection)
                # Where a pooler is in between, its sessions are not ours to change.
                await connection.fetchval(_LIMIT, connection.get_server_pid(), COMMAND_LIMIT)
                if self._prepared is not None:
                    await self._prepared(connection)
        except BaseException as error:
            lost = connection is not None and connection.is_closed()
            if connection is not None:
                connection.terminate()
            self._failures += 1
            pause = min(0.05 * 2.0**self._failures, LONGEST_PAUSE_S)
            self._not_before = time.monotonic() + pause * (0.5 + random.random() / 2)
            if isinstance(error, Exception):
                raise translate(error, self._address, lost=lost) from error
            raise
        if self._failures:
            self._failures = 0
            self._clock.came_back()
        return connection


class Pool:
    """A few links; who comes takes the one used last, so that a quiet store keeps few."""

    def __init__(self, address: Address, clock: Clock, size: int) -> None:
        self._address = address
        self._clock = clock
        self._size = size
        self._idle: asyncio.LifoQueue[Link] = asyncio.LifoQueue()
        self._links: list[Link] = []
        self._open = False
        self._users = 0
        self._unused = asyncio.Event()

    def open(self) -> None:
        self._idle = asyncio.LifoQueue()
        self._unused = asyncio.Event()
        self._links = [Link(self._address, self._clock) for _ in range(self._size)]
        for link in self._links:
            self._idle.put_nowait(link)
        self._open = True

    async def close(self) -> None:
        """Let those end who have begun; refuse the others."""
        self._open = False
        if self._users:
            await self._unused.wait()
        links, self._links = self._links, []
        for link in links:
            await link.close()

    async def rows(self, sql: str, *given: Any) -> list[Any]:
        """All rows."""
        return await self.use(lambda link: link.rows(sql, *given))

    async def row(self, sql: str, *given: Any) -> Any:
        """The first row or None."""
        return await self.use(lambda link: link.row(sql, *given))

    async def value(self, sql: str, *given: Any) -> Any:
        """The first row's first column or None."""
        return await self.use(lambda link: link.value(sql, *given))

    async def use(self, body: Callable[[Link], Awaitable[T]]) -> T:
        """Run ``body`` with a link of its own."""
        if not self._open:
            raise closed()
        self._users += 1
        self._unused.clear()
        try:
            link = await self._idle.get()
            try:
                return await body(link)
            finally:
                self._idle.put_nowait(link)
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()


def closed() -> StoreUnavailable:
    """What every call gets before ``open`` and after ``close``."""
    return StoreUnavailable("The store is not open.")


def _keep_alive(connection: Any) -> None:
    """A peer that is gone without a word is noticed within half a minute, also by those who only
    listen."""
    raw = connection._transport.get_extra_info("socket")
    if raw is None or raw.family not in (socket.AF_INET, socket.AF_INET6):
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 25_000),
    ):  # fmt: skip
        option = getattr(socket, name, None)
        if option is not None:
            raw.setsockopt(socket.IPPROTO_TCP, option, value)


_links: weakref.WeakSet[Link] = weakref.WeakSet()


def _after_fork() -> None:
    for link in list(_links):
        link.after_fork()


os.register_at_fork(after_in_child=_after_fork)
