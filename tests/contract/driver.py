"""How the contract's tests drive a store."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from perdure.core.record import EntryState, Kind, Promise, Record, RecordType
from perdure.core.run import RunState
from perdure.store import Store, make_store
from perdure.store.rows import Lease, LogRow, NewRun, Settlement, Wait, WorkerInfo

PATIENCE_S = 20.0  # until a test gives up on something that should happen at once


@dataclass(frozen=True)
class Database:
    """A database under test."""

    url: str

    async def upgrade(self) -> None:
        store = make_store(self.url)
        await store.open(check=False)
        await store.upgrade()
        await store.close()

    @asynccontextmanager
    async def opened(self, *, check: bool = True) -> AsyncIterator[Store]:
        store = make_store(self.url)
        await store.open(check=check)
        try:
            yield store
        finally:
            await store.close()


def new(**fields: Any) -> NewRun:
    """A run to enqueue."""
    return NewRun(**{"id": str(uuid.uuid4()), "agent": "agent", "input": b"{}"} | fields)


async def add(store: Store, **fields: Any) -> str:
    """Enqueue a run; returns its id."""
    (answer,) = await store.enqueue([new(**fields)])
    return answer.id


async def started(store: Store, worker: str = "w", **fields: Any) -> Lease:
    """A run that ``worker`` executes."""
    (answer,) = await store.enqueue([new(**{"lease_to": worker} | fields)])
    assert answer.lease is not None
    return answer.lease


async def claim(
    store: Store, worker: str = "w", *, limit: int = 100, queue: str = "default", idle: bool = True
) -> list[Lease]:
    return (await store.claim(worker, [queue], limit, idle=idle)).leases


async def claim_one(store: Store, worker: str = "w") -> Lease:
    (lease,) = await claim(store, worker)
    return lease


async def state_of(store: Store, run_id: str) -> RunState:
    return (await store.get(run_id)).state


def outcome(lease: Lease, state: RunState = RunState.SUCCEEDED, **fields: Any) -> Settlement:
    return Settlement(lease.run_id, lease.epoch, state, **fields)


async def settle(
    store: Store, lease: Lease, state: RunState = RunState.SUCCEEDED, **fields: Any
) -> RunState | None:
    """End the attempt; returns the run's state."""
    (settled,) = await store.settle([outcome(lease, state, **fields)])
    assert settled.run_id == lease.run_id
    return settled.state


async def park(store: Store, lease: Lease, *waits: Wait, **fields: Any) -> RunState | None:
    return await settle(store, lease, RunState.WAITING, waits=waits, **fields)


def entry(
    key: bytes = b"key", state: EntryState = EntryState.DONE, value: bytes = b"1", **fields: Any
) -> Record:
    """An effect's row."""
    given: dict[str, Any] = {
        "type": RecordType.ENTRY,
        "key": key,
        "scope": b"scope",
        "branch": "0.1",
        "after": b"after",
        "kind": Kind.TOOL,
        "name": "send",
        "digest": b"digest",
        "occurrence": 0,
        "promise": Promise.ONCE,
        "state": state,
        "took_ms": 7,
        "value": value,
    }
    return Record(**given | fields)


def row(lease: Lease, seq: int, record: Record | None = None, **fields: Any) -> LogRow:
    """A row of the attempt."""
    epoch = fields.pop("epoch", lease.epoch)
    return LogRow(lease.run_id, seq, epoch, record or entry(str(seq).encode(), **fields))


async def statuses(store: Store, run_id: str) -> list[tuple[str | None, str]]:
    """The run's status rows: name and reason."""
    return [
        (event.name, json.loads(event.value or b"{}").get("reason", ""))
        for event in await store.events(run_id)
        if event.type == RecordType.STATUS
    ]


async def seqs(store: Store, run_id: str) -> list[int]:
    return [event.seq for event in await store.events(run_id)]


def info(worker: str) -> WorkerInfo:
    return WorkerInfo(worker, "host", os.getpid(), "0", ("default",))


class Heard:
    """What a store told of one topic."""

    def __init__(self, store: Store, topic: str) -> None:
        self.payloads: list[str] = []
        self._event = asyncio.Event()
        self._undo = store.listen(topic, self._hear)

    def _hear(self, payload: str) -> None:
        self.payloads.append(payload)
        self._event.set()

    async def something(self) -> None:
        """Return when there was something since the last call."""
        async with asyncio.timeout(PATIENCE_S):
            await self._event.wait()
        self._event.clear()

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Return when ``holds``, looking again whenever something was told."""
        while not await holds():
            await self.something()

    def stop(self) -> None:
        self._undo()


class Child:
    """Another process, which has joined as a worker: see ``tests/contract/child.py``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @asynccontextmanager
    async def joined(
        cls, database: Database, worker: str, *, lease: timedelta, grace: timedelta
    ) -> AsyncIterator[Child]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.contract.child", database.url, worker,
            str(lease.total_seconds()), str(grace.total_seconds()),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        child = cls(process)
        try:
            assert await child.says() == "joined"
            yield child
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            # Without this the pipe's transport is closed after the loop, with a warning.
            assert process.stdin is not None
            process.stdin.close()

    async def says(self) -> str:
        """The next line the child prints."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            return (await self._process.stdout.readline()).decode().strip()

    async def asked(self, command: str) -> str:
        """Send a command; returns the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        return await self.says()

    async def kill(self) -> None:
        """End it as the kernel does when memory runs out."""
        self._process.kill()
        await self._process.wait()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)
