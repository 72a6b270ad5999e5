"""A worker's lock and lease in the database (L1, L5).

The lock is the database session's own: the server frees it when the process dies, and when the
connection breaks, after which the worker takes it back. A pooler in transaction mode gives each
statement another session; then there is no lock and only the lease counts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from perdure.store import birth
from perdure.store.postgres.address import Address
from perdure.store.postgres.link import Clock, Link
from perdure.store.rows import WorkerInfo

log = logging.getLogger("perdure.store")

LOCKS = 1885696612  # 'perd': the first half of every worker's lock; the second is its place
CHANNEL = "perdure_members"

_END_FORMER = """
select pg_terminate_backend(l.pid) from pg_locks l
where l.locktype = 'advisory' and l.classid = 1885696612 and l.objid = $1::int::oid
  and l.objsubid = 2 and l.granted and l.pid = $2
"""


class Beat(NamedTuple):
    """``known`` is false where the worker was taken for dead: it is no member any more. ``calm``:
    for how long everyone has had the chance to beat. See ``perdure.beat``."""

    known: bool
    neighbour: tuple[str, int] | None  # its id and its place
    calm: timedelta


class Place:
    """The lock, the row and the beats of one worker, over one connection of its own."""

    def __init__(
        self,
        address: Address,
        clock: Clock,
        worker: WorkerInfo,
        lease: timedelta,
        *,
        lost: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        """``lost`` is called when the connection broke, ``changed`` when a member came or went."""
        self.link = Link(address, clock, prepared=self._take)
        self.direct = True  # whether the lock can be held at all
        self._address = address
        self._worker = worker
        self._birth = birth.mine()
        self._lease = lease
        self._lost = lost
        self._changed = changed
        self._number: int | None = None
        self._backend = 0

    @property
    def _patience_s(self) -> float:
        # Less than what is left of the lease after a beat, so that silence is noticed in time.
        return self._lease.total_seconds() * 0.6

    async def join(self) -> None:
        """Take the lock, then become a member: one without a lock would be taken for dead."""
        await self.link.connect()
        worker = self._worker
        await self.link.value(
            "select perdure.join($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            worker.id, worker.host, worker.pid, self._birth, worker.version, list(worker.queues),
            self._lease, self._number if self.direct else None, self._address.process,
            timeout_s=self._patience_s,
        )  # fmt: skip

    async def beat(self) -> Beat:
        """Keep the lease, after taking the lock again where it was lost. Raises StoreUnavailable:
        the lock is lost."""
        row = await self.link.row(
            "select * from perdure.beat($1)", self._worker.id, timeout_s=self._patience_s
        )
        if self.direct and row["backend"] != self._backend:
            self._no_lock()
            await self.join()  # nobody is to look for its lock
        neighbour = (row["neighbour"], row["place"]) if row["neighbour"] is not None else None
        return Beat(row["known"], neighbour, row["calm"] or timedelta(0))

    async def _take(self, connection: Any) -> None:
        """Prepare a new connection: it holds the lock."""
        connection.add_termination_listener(lambda _: self._lost())
        await keep_watched(connection, self._lease)
        await connection.add_listener(CHANNEL, lambda *_: self._changed())
        if self._number is None:
            self._number = await connection.fetchval("select nextval('perdure.worker_places')::int")
        backend = await connection.fetchval("select pg_backend_pid()")
        if self.direct and not await self._is_own_session(connection, backend):
            self._no_lock()
        if self.direct and not await connection.fetchval(
            "select pg_try_advisory_lock($1, $2)", LOCKS, self._number
        ):
            if self._backend:
                # After a cut of the network the server may not know yet that we were away.
                await connection.fetch(_END_FORMER, self._number, self._backend)
            await connection.execute(f"set lock_timeout = {int(self._patience_s * 1000)}")
            await connection.fetchval("select pg_advisory_lock($1, $2)", LOCKS, self._number)
            await connection.execute("reset lock_timeout")
        self._backend = backend

    async def _is_own_session(self, connection: Any, backend: int) -> bool:
        """Whether this connection has a session of the server for itself."""
        if connection.get_server_pid() == backend:
            return True  # the server itself answered when we connected
        # Behind a pooler: does somebody who comes now get the same session?
        probe = Link(self._address, Clock())
        try:
            return bool(await probe.value("select pg_backend_pid()") != backend)
        finally:
            await probe.close()

    def _no_lock(self) -> None:
        self.direct = False
        log.warning(
            "The database at %s is behind a pooler that shares its sessions (PgBouncer's"
            " transaction mode): the death of a process is noticed only when its lease of %s ran"
            " out, and nothing is told. Give workers a direct connection.",
            self._address.place, self._lease,
        )  # fmt: skip


async def keep_watched(connection: Any, lease: timedelta) -> None:
    """Let the server notice that this client is gone: without a word, later than the lease's end
    (so that a cut network is not taken for a death); by its closed socket, also while a statement
    waits for a lock."""
    idle = max(10, int(lease.total_seconds()))
    for name, value in (
        ("tcp_keepalives_idle", str(idle)),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
        ("client_connection_check_interval", "2s"),
    ):
        # Not every platform of the server has each of them.
        try:
            await connection.execute("select set_config($1, $2, false)", name, value)
        except Exception as error:
            if connection.is_closed():
                raise
            log.debug("The server does not take %s: %s", name, error)
