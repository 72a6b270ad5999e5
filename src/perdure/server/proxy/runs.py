"""Calls of runs that are executed elsewhere: a program that a step started calls models here, and
what it is answered is in its run's journal, inside that step.

What is guaranteed: an answer is recorded before the program has it. Should the step be run again,
the n-th call that asks for just the same (model and body) gets the n-th recorded answer of earlier
attempts, and pays nothing; whatever has none is made. Failures are not replayed. A call goes out
only while the attempt it belongs to holds its run: a program that was left behind is refused.

Entries are told apart from those of the step's own code by their branch, which also names this
process: two proxies never give two entries one key, so any of them can find both.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any

from perdure.codec import BLOB
from perdure.core.charge import Charge
from perdure.core.digest import effect_key
from perdure.core.passes import Pass
from perdure.core.ports import About, Ticket
from perdure.core.record import Entry, EntryState, Kind, Record, RecordType
from perdure.errors import BoundaryError
from perdure.runtime.outside import Outside, Patience, log
from perdure.runtime.runtime import Runtime
from perdure.runtime.ticket import DELTA_BYTES, DELTA_SECONDS, Recorded, node
from perdure.store.blobs import MAX_INLINE

BRANCH = "proxy."
KEPT = 1000  # runs whose journals are remembered


class Runs:
    """What this process knows of the runs whose programs call it. ``name`` is this process's."""

    def __init__(self, runtime: Runtime, name: str) -> None:
        self.runtime = runtime
        self.branch = f"{BRANCH}{name}"
        self._held: OrderedDict[tuple[str, int], Holding] = OrderedDict()

    async def hold(self, passed: Pass) -> Holding:
        """The attempt that a pass belongs to."""
        name = passed.run_id, passed.epoch
        found = self._held.get(name)
        if found is None:
            while len(self._held) >= KEPT:
                self._held.popitem(last=False)
            found = self._held[name] = Holding(self, passed)
        self._held.move_to_end(name)
        await found.loaded()
        return found

    def forget(self, holding: Holding) -> None:
        """Its run is another's now."""
        self._held.pop((holding.run_id, holding.epoch), None)


class Holding:
    """One attempt of a run. Implements ``recorder.Writer``."""

    def __init__(self, runs: Runs, passed: Pass) -> None:
        self.run_id = passed.run_id
        self.epoch = passed.epoch
        self.next_seq = 0
        self._runs = runs
        self._runtime = runs.runtime
        self._nodes: set[bytes] = set()
        self._unread: dict[tuple[bytes, str, bytes], deque[Entry]] = {}
        self._next: dict[tuple[bytes, str, bytes], int] = {}
        self._loading: asyncio.Future[None] | None = None

    async def loaded(self) -> None:
        """Its journal was read."""
        if self._loading is None:
            self._loading = asyncio.ensure_future(self._load())
        try:
            await asyncio.shield(self._loading)
        except Exception:
            self._runs.forget(self)
            raise

    async def _load(self) -> None:
        store = self._runtime.store
        entries = await store.journal(self.run_id)
        self.next_seq = await store.last_seq(self.run_id) + 1
        for entry in entries:
            if entry.kind != Kind.MODEL or not entry.branch.startswith(BRANCH):
                continue
            name = entry.scope, entry.name, entry.digest
            if entry.branch == self._runs.branch:
                self._next[name] = max(self._next.get(name, 0), entry.occurrence + 1)
            # What this very attempt recorded is no answer to its own next call.
            if entry.state == EntryState.DONE and entry.epoch < self.epoch:
                self._unread.setdefault(name, deque()).append(entry)

    async def recorded(self, scope: bytes, name: str, digest: bytes) -> Recorded | None:
        """The answer that an earlier attempt got."""
        waiting = self._unread.get((scope, name, digest))
        if not waiting:
            return None
        entry = waiting.popleft()
        value = entry.value
        if value is None and entry.size:
            value = (await self._runtime.store.values(self.run_id, [entry.seq]))[entry.seq]
        if value is not None and value[:1] == BLOB:
            value = await asyncio.to_thread(self._runtime.blobs.get, value)
        return Recorded(entry.key, EntryState.DONE, value or b"null")

    def new(self, scope: bytes, name: str, digest: bytes) -> tuple[bytes, int]:
        """The key of a call that nobody answered yet, and its number among its equals."""
        which = scope, name, digest
        occurrence = self._next.get(which, 0)
        self._next[which] = occurrence + 1
        branch = self._runs.branch
        return effect_key(scope, branch, Kind.MODEL, name, digest, occurrence), occurrence

    @property
    def branch(self) -> str:
        """Of this process's entries."""
        return self._runs.branch

    def append(self, record: Record) -> asyncio.Future[None]:
        """Durable when the future says so; LeaseLost where the attempt is over."""
        return self._runtime.recorder.append(self, record)

    def append_quietly(self, record: Record) -> None:
        """Nobody waits for it."""
        self._runtime.recorder.append_quietly(self, record)

    def chain(self, parts: Sequence[bytes]) -> bytes:
        """Store a request (Z1); returns its tip."""
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

    async def stored(self, value: bytes) -> bytes:
        """``value`` as it goes into the database."""
        if len(value) <= MAX_INLINE:
            return value
        return await asyncio.to_thread(self._runtime.blobs.put, value)

    # -- recorder.Writer ----------------------------------------------------------------------

    def lost(self) -> None:
        self._runs.forget(self)

    def broken(self, error: Exception) -> None:
        self._runs.forget(self)


class Inside(Outside):
    """Implements ``core.ports.Boundary`` for one call of a run."""

    def __init__(
        self,
        runs: Runs,
        passed: Pass,
        about: About,
        patience: Patience,
        keep: Callable[[Coroutine[Any, Any, None]], Awaitable[None]],
        spend: Callable[[Charge], None],
    ) -> None:
        super().__init__(about, patience, keep, spend)
        self.run_id = passed.run_id
        self._runs = runs
        self._passed = passed

    async def request(
        self, kind: str, name: str, digest: bytes, *, promise: str = "reads", streamed: bool = False
    ) -> Ticket:
        """See ``core.ports.Boundary``. Raises LeaseLost."""
        holding = await self._runs.hold(self._passed)
        scope = self._passed.scope
        found = await holding.recorded(scope, name, digest)
        if found is not None:
            return found
        key, occurrence = holding.new(scope, name, digest)
        started = Record(RecordType.STARTED, key, scope, holding.branch, kind=Kind.MODEL, name=name)
        # Waited for, unlike a worker's own: it says whether the attempt still holds its run.
        await holding.append(started)
        record = Record(
            RecordType.ENTRY, key, scope, holding.branch, b"", Kind.MODEL, name, digest,
            occurrence, promise,
        )  # fmt: skip
        return Journaled(self, holding, record, self._passed.requests)

    def request_blocking(
        self, kind: str, name: str, digest: bytes, *, promise: str = "reads", streamed: bool = False
    ) -> Ticket:
        """A proxy has no synchronous callers."""
        raise BoundaryError("a proxy's calls are asynchronous")


class Journaled:
    """Implements ``core.ports.Ticket`` for a call of a run elsewhere."""

    live = True
    state = ""
    value = b""
    noted = b""

    def __init__(self, boundary: Inside, holding: Holding, record: Record, requests: bool) -> None:
        self.key: bytes = record.key or b""
        self._boundary = boundary
        self._holding = holding
        self._record = record
        self._requests = requests
        self._started = perf_counter()
        self._deltas: list[bytes] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None

    async def done(
        self, value: bytes, *, request: Sequence[bytes] | None = None, took: timedelta | None = None
    ) -> None:
        """See ``core.ports.Ticket``."""
        await self._close(EntryState.DONE, value, request)

    async def failed(self, value: bytes, *, request: Sequence[bytes] | None = None) -> None:
        """See ``core.ports.Ticket``."""
        await self._close(EntryState.FAILED, value, request)

    async def _close(self, state: str, value: bytes, request: Sequence[bytes] | None) -> None:
        self._flush()
        value = await self._holding.stored(value)
        tip = self._holding.chain(request) if request and self._requests else None
        await self._holding.append(self._entry(state, value, tip))

    def _entry(self, state: str, value: bytes | None, tip: bytes | None = None) -> Record:
        took_ms = int((perf_counter() - self._started) * 1000)
        return self._record._replace(state=state, took_ms=took_ms, value=value, request=tip)

    def abandoned(self) -> None:
        """See ``core.ports.Ticket``."""
        self._flush()
        self._holding.append_quietly(self._entry(EntryState.VOID, None))

    def delta(self, data: bytes) -> None:
        """See ``core.ports.Ticket``."""
        self._deltas.append(data)
        self._size += len(data)
        if self._size >= DELTA_BYTES:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DELTA_SECONDS, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._deltas:
            data = b"[" + b",".join(self._deltas) + b"]"
            self._deltas, self._size = [], 0
            kind, name = self._record.kind, self._record.name
            delta = Record(RecordType.DELTA, key=self.key, kind=kind, name=name, value=data)
            self._holding.append_quietly(delta)

    def warning(self, code: str, message: str) -> None:
        """See ``core.ports.Ticket``."""
        log.info("run %s: %s", self._holding.run_id, message)

    def charge(self, charge: Charge) -> None:
        """See ``core.ports.Ticket``."""
        self._boundary.spend(charge)

    async def rest(self, until: datetime, detail: str, note: bytes) -> None:
        """See ``core.ports.Ticket``. The step that the program belongs to is under way, so its run
        could not park anyway."""
        await self._boundary.patience.rest(until, detail)

    async def again(self, note: bytes) -> None:
        """See ``core.ports.Ticket``. The attempt is not this process's to end: the program sees a
        broken stream, and asks again as it likes."""
        self.abandoned()
