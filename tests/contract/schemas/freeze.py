"""Freezes today's schema, with runs in it: ``python -m tests.contract.schemas.freeze``.

Writes ``NNNN-sqlite.sql`` and ``NNNN-postgres.sql``, where NNNN counts the schemas that somebody's
database may have. Migrations that were added make a new file; newer ones must bring every file to
the newest schema with its runs in it. A file of a released version is never written again: from
then on the migrations that it was made by must stay as they are. Until then the newest file is
rewritten whenever its migrations are edited.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from perdure import __version__
from perdure.core.charge import Charge
from perdure.core.record import Record, RecordType
from perdure.core.run import RunState
from perdure.core.shared import Swap
from perdure.store import Store, make_store, migrations
from perdure.store.rows import AgentInfo, ApiKey, Idempotency, Message, NewRun, NextGeneration, Wait
from tests.contract.driver import entry, info, row, settle
from tests.servers import PostgresServer

FOLDER = Path(__file__).parent
DIALECTS = ("sqlite", "postgres")
# What stands in every frozen database, whatever its version. A later file may have more.
NAMES = ("succeeded", "waiting", "queued", "blocked", "dead", "cancelled", "continued", "running")
RUNS = {name: f"0190a000-0000-7000-8000-{n:012d}" for n, name in enumerate(NAMES, 1)}


async def fill(store: Store) -> None:
    """Runs in every state, with all that runs have."""
    key = Idempotency("key", b"body", timedelta(days=36500))
    base = NewRun("", "agent", b'"input"', tenant="acme", labels={"team": "a"})
    given = {
        "succeeded": replace(base, idempotency=key),
        "waiting": base,
        "queued": replace(base, session="talk"),
        "blocked": replace(base, session="talk", priority=3),
        "dead": base,
        "cancelled": base,
        "continued": base,
        "running": replace(base, cap=("cap", 2), timeout=timedelta(days=36500)),
    }
    member = await store.join(info("worker"), lease=timedelta(days=36500))
    leases = {}
    for name, run in given.items():
        lease_to = None if name in ("queued", "blocked") else "worker"
        (answer,) = await store.enqueue([replace(run, id=RUNS[name], lease_to=lease_to)])
        if answer.lease is not None:
            leases[name] = answer.lease
    for name, lease in leases.items():
        await store.record([row(lease, 1, entry(b"first", value=f'"{name}"'.encode()))])
        await store.record([row(lease, 2, Record(RecordType.DELTA, value=b'["text"]'))])
    node = sha256(b"node").digest()
    await store.record([], (), [Message(RUNS["succeeded"], node, b"", b'{"role":"user"}')])
    await settle(store, leases["succeeded"], result=b'{"answer":42}')
    await store.signal(RUNS["waiting"], "other", b'"kept"', dedupe="d")
    await settle(store, leases["waiting"], RunState.WAITING, waits=(Wait("signal", "go"),))
    await settle(store, leases["dead"], RunState.DEAD, attempts=5, error=b'{"message":"no"}')
    await store.cancel(RUNS["cancelled"], "enough")
    await settle(store, leases["cancelled"], RunState.CANCELLED, error=b'{"message":"enough"}')
    following = NextGeneration(b'"second"')
    await settle(store, leases["continued"], RunState.QUEUED, next=following)
    await store.announce([AgentInfo("agent", "agent", "python", "An agent.")])
    lease = leases["running"]
    charges = [Charge(bytes(16), "agent", "anthropic", "model", run_id=lease.run_id, cost=42)]
    await store.record([row(lease, 3)], charges)
    await store.swap([], [Swap("halt/agent/agent", 0, b'{"why":"frozen"}')])
    now = await store.now()
    await store.add_key(ApiKey("k1", "ci", sha256(b"secret").digest(), ("runs:read",), now))
    await member.leave()


def header(dialect: str) -> str:
    """What the file was made by, as comments."""
    made_by = "".join(
        f"-- migration {m.name} {sha256(m.sql.encode()).hexdigest()}\n"
        for m in migrations.available(dialect)
    )
    return f"-- perdure {__version__}\n{made_by}"


def made_by(path: Path) -> tuple[str, dict[str, str]]:
    """The version that a frozen file is of, and the migrations that it was made by."""
    text = path.read_text("utf-8")
    version = re.search(r"^-- perdure (\S+)$", text, re.MULTILINE)
    assert version is not None, path
    return version[1], migrations_of(text)


def migrations_of(text: str) -> dict[str, str]:
    """Name -> hash, as a header says it."""
    return dict(re.findall(r"^-- migration (\S+) ([0-9a-f]{64})$", text, re.MULTILINE))


def released(version: str) -> bool:
    """Whether that version went out to anyone."""
    return ".dev" not in version


def place(dialect: str) -> Path:
    """The file to write: the newest, or a new one after a released one, and for migrations that
    were added to those of the newest."""
    found = sorted(FOLDER.glob(f"[0-9]*-{dialect}.sql"))
    if found:
        version, its = made_by(found[-1])
        mine = migrations_of(header(dialect))
        added = its and its.items() < mine.items()
        if not released(version) and not added:
            return found[-1]
    return FOLDER / f"{len(found) + 1:04d}-{dialect}.sql"


async def sqlite_dump(folder: Path) -> str:
    path = folder / "perdure.db"
    store = make_store(f"sqlite:///{path}")
    await _filled(store)
    link = sqlite3.connect(path)
    text = "\n".join(link.iterdump()) + "\n"
    link.close()
    return text


async def postgres_dump(server: PostgresServer) -> str:
    url = server.dsn(server.create_database())
    await _filled(make_store(url))
    return await asyncio.to_thread(_dumped, server, url)


def _dumped(server: PostgresServer, url: str) -> str:
    ran = subprocess.run(
        [
            str(server._find_programs() / "pg_dump"),
            *("--schema=perdure", "--no-owner", "--no-privileges", "--inserts"),
            *("--restrict-key=perdure", url),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    # Backslash commands are for psql alone; the rest any client can run.
    return re.sub(r"^\\.*\n", "", ran.stdout, flags=re.MULTILINE)


async def _filled(store: Store) -> None:
    await store.open(check=False)
    try:
        await store.upgrade()
        await fill(store)
    finally:
        await store.close()


async def main() -> None:
    with TemporaryDirectory() as folder:
        dump = await sqlite_dump(Path(folder))
    place("sqlite").write_text(header("sqlite") + dump, "utf-8")
    with PostgresServer() as server:
        dump = await postgres_dump(server)
    place("postgres").write_text(header("postgres") + dump, "utf-8")
    for path in sorted(FOLDER.glob("*.sql")):
        print(path.name, path.stat().st_size, file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(main())
