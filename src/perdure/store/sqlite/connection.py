"""Where a SQLite database is, how to connect to it, and what its errors mean.

Everything that SQLite can say is translated here, once. WAL and synchronous=FULL: a commit that
returned is on the disk, but for those of ``Shortcut``.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from perdure.errors import ConfigError, PerdureError, StoreUnavailable
from perdure.store import migrations

DIALECT = "sqlite"
OLDEST = (3, 35, 0)  # RETURNING
READ_BUSY_MS = 5_000  # readers wait only for recovery after a crash, never for a writer


@dataclass(frozen=True, slots=True)
class Address:
    """The database's file, and what to call it."""

    path: Path
    url: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """``sqlite:///relative.db`` or ``sqlite:////absolute/path.db``. Raises ConfigError."""
        scheme, separator, rest = url.partition("://")
        name = unquote(rest)
        if scheme != "sqlite" or not separator or not rest.startswith("/") or "?" in rest:
            raise ConfigError(
                f"{url!r} is no address of a SQLite database.",
                hint="Write sqlite:///relative.db or sqlite:////absolute/path.db.",
            )
        if name in ("/", "/:memory:"):
            raise ConfigError(
                f"{url!r} names no file, and a store is shared by several processes.",
                hint="Give it a file, such as sqlite:///.perdure/perdure.db.",
            )
        # Resolved now, so that a later chdir of the agent does not lead to another file.
        return cls(Path(os.path.realpath(name[1:])), url)

    def beside(self, suffix: str) -> Path:
        """A file or folder that belongs to the database: its name with ``suffix``."""
        return self.path.with_name(self.path.name + suffix)


def create_folder(address: Address) -> None:
    """Make the folder that the database is to be in. Raises StoreUnavailable."""
    try:
        address.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(
            f"The folder of {address.path} cannot be made: {error.strerror}.",
            hint="Check the path in store.url and who may write there.",
        ) from error


def connect(address: Address, *, write: bool) -> sqlite3.Connection:
    """A connection in autocommit mode. Raises what :func:`translate` makes of the error."""
    if sqlite3.sqlite_version_info < OLDEST:
        raise ConfigError(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 is needed.")
    link: sqlite3.Connection | None = None
    try:
        link = sqlite3.connect(
            address.path,
            timeout=READ_BUSY_MS / 1000,
            isolation_level=None,
            check_same_thread=False,  # closed by another thread than the one that reads
            cached_statements=256,
        )
        link.row_factory = sqlite3.Row
        if write:
            _prepare_writer(link, address)
        else:
            link.execute("PRAGMA query_only = 1")
            link.execute("PRAGMA schema_version").fetchone()
    except sqlite3.Error as error:
        if link is not None:
            link.close()
        raise translate(error, address) from error
    except BaseException:
        if link is not None:
            link.close()
        raise
    return link


def _prepare_writer(link: sqlite3.Connection, address: Address) -> None:
    mode = _write_ahead(link)
    if mode != "wal":
        raise StoreUnavailable(
            f"{address.path} cannot use write-ahead logging (its journal mode is {mode!r}).",
            hint="Put the database on a local disk; network file systems cannot share it.",
        )
    link.execute("PRAGMA synchronous = FULL")
    link.execute("PRAGMA foreign_keys = 1")
    link.execute("PRAGMA wal_autocheckpoint = 4000")  # pages of 4 KiB
    link.execute("PRAGMA journal_size_limit = 67108864")
    # Waiting for other processes' writes is the writer's business, with steps shorter than
    # SQLite's own.
    link.execute("PRAGMA busy_timeout = 0")
    try:
        # Only a write tells that a file is read-only: BEGIN IMMEDIATE just reads then.
        link.execute("BEGIN IMMEDIATE")
        link.execute("PRAGMA user_version = 0")
        link.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise


def _write_ahead(link: sqlite3.Connection) -> str:
    """Switch to WAL. Two processes that both create the file meet a lock that SQLite's own
    waiting does not cover."""
    until = time.monotonic() + READ_BUSY_MS / 1000
    while True:
        try:
            return str(link.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.005)


def read_version(link: sqlite3.Connection) -> int:
    """The schema's version, 0 for none."""
    with closing(link.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_migrations'")) as c:
        if c.fetchone() is None:
            return 0
    with closing(link.execute("SELECT coalesce(max(version), 0) FROM schema_migrations")) as c:
        return int(c.fetchone()[0])


def check_version(link: sqlite3.Connection) -> None:
    """Raises SchemaOutdated or SchemaNewer."""
    migrations.check(DIALECT, read_version(link))


_NEED_HELP = {
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "Check that it exists and who may read it."),
    sqlite3.SQLITE_READONLY: ("cannot be written", "Check who may write the file and its folder."),
    sqlite3.SQLITE_PERM: ("cannot be used", "Check who may read and write it."),
    sqlite3.SQLITE_AUTH: ("cannot be used", "Check who may read and write it."),
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full", "Free some space; no run is lost."),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "Check the disk."),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "Restore a backup, or try: sqlite3 FILE .recover"),
    sqlite3.SQLITE_BUSY: ("is locked by another process", "Look for a writer that hangs."),
    sqlite3.SQLITE_LOCKED: ("is locked by another process", "Look for a writer that hangs."),
    sqlite3.SQLITE_PROTOCOL: ("is locked by another process", "Look for a writer that hangs."),
}


def translate(error: sqlite3.Error, address: Address) -> Exception:
    """What an error of SQLite is to a caller of the store. A mistake in Perdure's own SQL stays
    what it is."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # the library's own: a closed connection
        if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
            return closed()
        return error
    primary = code & 0xFF
    if primary == sqlite3.SQLITE_NOTADB:
        return ConfigError(
            f"{address.path} is not a SQLite database.",
            hint="Point store.url at another file.",
        )
    if primary in _NEED_HELP:
        what, hint = _NEED_HELP[primary]
        return StoreUnavailable(f"The database {address.path} {what} ({error}).", hint=hint)
    return error


def closed() -> PerdureError:
    """What every call gets before ``open`` and after ``close``."""
    return StoreUnavailable("The store is not open.")


class Clock:
    """Microseconds since 1970 UTC. SQLite has no server: its clock is the host's."""

    def __init__(self) -> None:
        self.shift = 0

    def __call__(self) -> int:
        return time.time_ns() // 1000 + self.shift
