"""Tickets: one effect of one attempt, from request to record (see ``core.ports.Ticket``)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from time import perf_counter
from typing import TYPE_CHECKING, Any

from perdure.core import crash
from perdure.core.charge import Charge
from perdure.core.matching import Match
from perdure.core.record import Entry, EntryState, Kind, Record, RecordType
from perdure.runtime.closing import Ending
from perdure.store.blobs import MAX_INLINE
from perdure.store.rows import Wait

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt
    from perdure.runtime.place import Place

DELTA_BYTES = 4096  # pieces of an answer are gathered up to this size
DELTA_SECONDS = 0.05  # or this long
_WORK = frozenset({Kind.MODEL, Kind.TOOL, Kind.STEP})


class Recorded:
    """An effect that the journal answers."""

    __slots__ = ("key", "state", "value")
    live = False
    noted = b""

    def __init__(self, key: bytes, state: str, value: bytes) -> None:
        self.key = key
        self.state = state
        self.value = value

    async def done(
        self, value: bytes, *, request: Sequence[bytes] | None = None, took: timedelta | None = None
    ) -> None:
        raise RuntimeError("a recorded effect cannot be closed again")

    async def failed(self, value: bytes, *, request: Sequence[bytes] | None = None) -> None:
        raise RuntimeError("a recorded effect cannot be closed again")

    def abandoned(self) -> None:
        pass

    def delta(self, data: bytes) -> None:
        pass

    def warning(self, code: str, message: str) -> None:
        pass

    def charge(self, charge: Charge) -> None:
        pass

    async def rest(self, until: datetime, detail: str, note: bytes) -> None:
        raise RuntimeError("a recorded effect does not wait")

    async def again(self, note: bytes) -> None:
        raise RuntimeError("a recorded effect cannot be begun anew")


class Live:
    """An effect that is being performed. Closed exactly once."""

    __slots__ = (
        "_attempt", "_closed", "_deltas", "_deltas_size", "_match", "_timer", "digest",
        "intended", "intended_value", "key", "kind", "name", "note", "place", "promise",
        "released", "resting", "started", "waits",
    )  # fmt: skip
    live = True
    state = ""
    value = b""

    def __init__(
        self,
        attempt: Attempt,
        place: Place,
        match: Match,
        kind: str,
        name: str,
        digest: bytes,
        promise: str,
    ) -> None:
        self._attempt = attempt
        self.place = place
        self._match = match
        self._closed = False
        self._deltas: list[bytes] = []
        self._deltas_size = 0
        self._timer: asyncio.TimerHandle | None = None
        self.key = match.key
        self.kind = kind
        self.name = name
        self.digest = digest
        self.promise = promise
        self.intended: Entry | None = None  # an earlier attempt's open intent
        self.intended_value = b"null"
        self.released: asyncio.Future[None] | None = None  # set where closing happens elsewhere
        self.started = perf_counter()
        self.note = b""  # left by this attempt
        self.waits = False  # it waits itself (a sleep, a signal)
        self.resting = 0  # how much of what was requested inside it waits

    @property
    def around(self) -> Live | None:
        """The effect whose body requested this one."""
        return self.place.effect

    def record(self, state: str, value: bytes | None, request: bytes | None = None) -> Record:
        place, match = self.place, self._match
        return Record(
            RecordType.ENTRY,
            match.key,
            place.scope,
            place.path,
            match.after,
            self.kind,
            self.name,
            self.digest,
            match.occurrence,
            self.promise,
            state,
            int((perf_counter() - self.started) * 1000),
            value,
            request,
        )

    def told(self, value: bytes) -> None:
        """Write the same while nobody waits: it tells watchers, and the next attempt after a
        crash."""
        self._attempt.pen.append_quietly(self.record(EntryState.INTENT, value))

    async def intent(self, value: bytes) -> None:
        """Write down, durably, that it may happen from now on."""
        crash.reach(crash.Point.BEFORE_INTENT)
        try:
            await self._attempt.pen.append(self.record(EntryState.INTENT, value))
        except asyncio.CancelledError:
            # The row may go out, but the body has not begun: nothing of it is uncertain.
            if self._attempt.closing.cutting:
                self.put_down()
            else:
                self.abandoned()
            raise
        crash.reach(crash.Point.AFTER_INTENT)

    def done(
        self, value: bytes, *, request: Sequence[bytes] | None = None, took: timedelta | None = None
    ) -> Coroutine[Any, Any, None]:
        if took is not None:
            self.started = perf_counter() - took.total_seconds()
        return self._close(EntryState.DONE, value, request)

    async def failed(self, value: bytes, *, request: Sequence[bytes] | None = None) -> None:
        self._attempt.note_failure(self.place, self.key)
        await self._close(EntryState.FAILED, value, request)

    def abandoned(self) -> None:
        """F3. When the attempt itself is ending this is no abandonment: the effect was cut."""
        if self._closed:
            return
        self._closed = True
        self._flush_deltas()
        attempt = self._attempt
        if attempt.closing.cutting:
            attempt.ended(self)
            return
        # The agent's next effect in this branch must not get ahead of this row.
        self.place.barrier = attempt.pen.append(self.record(EntryState.ABANDONED, None))
        attempt.ended(self)
        attempt.journal.delivered(self.place.scope, self.place.path, self.key)

    def cut(self) -> None:
        """It ended in a way nobody can record: a ``once`` whose outcome is unknown, or an attempt
        that is being taken away. What is in the journal stays as it is."""
        if not self._closed:
            self._closed = True
            self._attempt.ended(self)

    def withdrawn(self) -> None:
        """The framework broke it off and will ask for it again: as if it was never asked for. Its
        number is free again, so that what was done inside it is found again too."""
        if self._closed:
            return
        self._closed = True
        attempt, place = self._attempt, self.place
        place.barrier = attempt.pen.append(self.record(EntryState.VOID, None))
        attempt.journal.withdrawn(
            place.scope, place.path, self.kind, self.name, self.digest, self._match.occurrence
        )
        attempt.ended(self)

    def put_down(self) -> None:
        """Its attempt ends while its body waits: it is begun anew by the next one, which is no
        repetition after a crash."""
        if not self._closed:
            self._attempt.pen.append_quietly(self.record(EntryState.VOID, None))

    def delta(self, data: bytes) -> None:
        self._deltas.append(data)
        self._deltas_size += len(data)
        if self._deltas_size >= DELTA_BYTES:
            self._flush_deltas()
        elif self._timer is None:
            self._timer = self._attempt.loop.call_later(DELTA_SECONDS, self._flush_deltas)

    def warning(self, code: str, message: str) -> None:
        self._attempt.pen.warn(code, message, key=self.key)

    def charge(self, charge: Charge) -> None:
        self._attempt.runtime.recorder.charge(charge)

    async def rest(
        self, until: datetime, detail: str, note: bytes, *, foreign: bool = False
    ) -> None:
        if note != self.noted:
            await self._attempt.pen.commit(self.record(EntryState.INTENT, note))
            self.note = note
        wait = Wait("quota", until=until, detail=detail)
        await self._attempt.waiting.until(self, wait, long=True, foreign=foreign)

    @property
    def noted(self) -> bytes:
        return self.note or (b"" if self.intended is None else self.intended_value)

    async def again(self, note: bytes) -> None:
        try:
            await self._attempt.pen.commit(self.record(EntryState.INTENT, note))
        finally:
            self._attempt.closing.close(Ending.HOP)
            self.cut()

    def _flush_deltas(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._deltas:
            data = b"[" + b",".join(self._deltas) + b"]"
            self._deltas, self._deltas_size = [], 0
            self._attempt.pen.append_quietly(
                Record(RecordType.DELTA, key=self.key, kind=self.kind, name=self.name, value=data)
            )

    async def _close(self, state: str, value: bytes, request: Sequence[bytes] | None) -> None:
        if self._closed:
            raise RuntimeError(f"the {self.kind} {self.name!r} was closed twice")
        self._closed = True
        attempt = self._attempt
        try:
            if self._deltas:
                self._flush_deltas()
            if len(value) > MAX_INLINE:
                value = await attempt.put_blob(value)
            tip = attempt.pen.chain(request) if request and attempt.policy.requests else None
            try:
                await attempt.pen.commit(self.record(state, value, tip))
            except asyncio.CancelledError:
                # The agent turned away while its answer was being written (F3): the last row of
                # a key counts. Anything else would answer a replay faster than the first time.
                if not attempt.closing.cutting:
                    # With its value, so that it is not done again by a replay that is more patient.
                    keep = state == EntryState.DONE and self.kind in _WORK
                    abandoned = self.record(EntryState.ABANDONED, value if keep else None)
                    self.place.barrier = attempt.pen.append(abandoned)
                    attempt.journal.delivered(self.place.scope, self.place.path, self.key)
                raise
        finally:
            attempt.ended(self)
        attempt.journal.delivered(self.place.scope, self.place.path, self.key)


def node(parent: bytes, body: bytes) -> bytes:
    """The name of a request's prefix: a hash chain, so that equal prefixes are stored once (Z1)."""
    return blake2b(parent + body, digest_size=16).digest()
