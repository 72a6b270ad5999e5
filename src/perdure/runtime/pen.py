"""What an attempt writes: entries, deltas and warnings in its run's log, and its requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from perdure import codec
from perdure.core.record import Record, RecordType
from perdure.core.trace import trace_id
from perdure.runtime.closing import Closing, Ending
from perdure.runtime.ticket import node

if TYPE_CHECKING:
    from perdure.runtime.runtime import Runtime
    from perdure.store.rows import Lease

log = logging.getLogger("perdure.attempt")


class Pen:
    """Of one attempt. Implements ``recorder.Writer``: ``next_seq`` is the first free number of its
    run's log, and a lease that was lost, or rows that nobody can write, close the attempt."""

    def __init__(self, lease: Lease, runtime: Runtime, closing: Closing) -> None:
        self.run_id = lease.run_id
        self.epoch = lease.epoch
        self.next_seq = lease.next_seq
        self.added = False  # an entry was recorded
        self.entries = 0  # recorded so far, by earlier attempts too
        self._attempts = lease.attempts
        self._trace_id = trace_id(lease.run_id, lease.trace)
        self._runtime = runtime
        self._closing = closing
        self._announced = False
        self._last: asyncio.Future[None] | None = None
        self._nodes: set[bytes] = set()

    def append(self, record: Record) -> asyncio.Future[None]:
        """Write an entry; the caller may await that it is durable, now, later, or not at all."""
        future = self.commit(record)
        future.add_done_callback(_retrieve)
        return future

    def commit(self, record: Record) -> asyncio.Future[None]:
        """Write an entry whose future the caller awaits at once. Cancelling that takes nothing
        back: the row goes out all the same."""
        if not self._announced:
            self._announce()
        self.added = True
        self.entries += 1
        future = self._last = self._runtime.recorder.append(self, record)
        return future

    def append_quietly(self, record: Record) -> None:
        """Write a row that nobody waits for."""
        if not self._announced:
            self._announce()
        self._runtime.recorder.append_quietly(self, record)

    async def written(self) -> None:
        """Every entry so far is durable."""
        if self._last is not None:
            await asyncio.shield(self._last)

    def warn(self, code: str, message: str, *, key: bytes | None = None) -> None:
        """Tell the run's watchers, and the log."""
        log.warning("run %s: %s", self.run_id, message, extra={"run_id": self.run_id})
        self.append_quietly(
            Record(RecordType.WARNING, key=key, name=code, value=orjson.dumps({"message": message}))
        )

    def output(self, item: Any) -> None:
        """A piece of a streaming agent's output."""
        data = b"[" + codec.encode(item, what="streamed item") + b"]"
        self.append_quietly(Record(RecordType.DELTA, kind="output", value=data))

    def chain(self, parts: Sequence[bytes]) -> bytes:
        """Store a request as a hash chain of its parts; returns the tip (Z1)."""
        tip = b""
        new: list[tuple[bytes, bytes, bytes]] = []
        for part in parts:
            parent, tip = tip, node(tip, part)
            if tip not in self._nodes:
                self._nodes.add(tip)
                new.append((tip, parent, part))
        if new:
            self._runtime.recorder.messages(self.run_id, new)
        return tip

    # -- recorder.Writer ----------------------------------------------------------------------

    def lost(self) -> None:
        self._closing.close(Ending.LOST)

    def broken(self, error: Exception) -> None:
        self._closing.close(Ending.FAIL, error=error)

    def _announce(self) -> None:
        self._announced = True
        value = orjson.dumps(
            {
                "attempt": self._attempts + 1,
                "worker": self._runtime.worker_id,
                "trace_id": self._trace_id,
            }
        )
        self._runtime.recorder.append_quietly(self, Record(RecordType.ATTEMPT, value=value))


def _retrieve(future: asyncio.Future[None]) -> None:
    """Rows nobody waits for may fail with the lease; that is dealt with elsewhere."""
    if not future.cancelled():
        future.exception()
