"""The value objects that cross the store's seam. All times are aware UTC datetimes of the
store's clock; all payloads are codec bytes (``perdure.codec``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from perdure.core.record import Record
from perdure.core.run import RunState


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Rule X3. Scope is (tenant, agent, key); ``body`` is a hash of the request's body; the key
    stays taken for ``window`` after the run is final."""

    key: str
    body: bytes
    window: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to enqueue. ``id`` is a UUID in text form and makes enqueueing idempotent: an id that
    exists already is left as it is. ``cap`` is (key, limit): at most ``limit`` runs of the key are
    queued or running at a time, the rest are blocked. ``lease_to`` names a worker incarnation
    that executes the run in place: it is born ``running`` with epoch 1 (unless blocked, delayed, or
    deduplicated). ``watch``: someone waits for it, so notify of its events for a minute."""

    id: str
    agent: str
    input: bytes
    queue: str = "default"
    tenant: str = ""
    priority: int = 0  # higher goes first
    session: str | None = None
    cap: tuple[str, int] | None = None
    delay: timedelta | None = None
    timeout: timedelta | None = None  # the run's deadline, counted from now
    max_attempts: int = 5
    parent: str | None = None  # the run that started it
    parent_key: bytes | None = None  # the effect of the parent that started it
    depth: int = 0
    generation: int = 1
    labels: dict[str, str] = field(default_factory=dict)
    trace: str | None = None  # W3C traceparent
    idempotency: Idempotency | None = None
    lease_to: str | None = None
    watch: bool = False


@dataclass(frozen=True, slots=True)
class Enqueued:
    """``id`` is the existing run's where ``deduplicated``. ``lease`` is set when the run was
    leased in place."""

    id: str
    state: RunState
    deduplicated: bool = False
    lease: Lease | None = None


@dataclass(slots=True)
class Lease:
    """A claimed run: what an attempt needs to know. ``next_seq`` is the first free number of its
    log. ``gone``: the process of the attempt before is proven to have ended (L5), so that open
    intents may be answered at once (P3); once an attempt of the run was orphaned without that
    proof it stays False. ``now`` is the store's time of the claim."""

    run_id: str
    agent: str
    epoch: int
    input: bytes
    attempts: int  # failures so far
    max_attempts: int
    next_seq: int
    tenant: str
    session: str | None
    queue: str
    depth: int
    parent: str | None
    generation: int
    labels: dict[str, str]
    trace: str | None
    created_at: datetime
    deadline_at: datetime | None
    now: datetime
    alone: bool = False
    gone: bool = True
    cancel_requested: bool = False
    priority: int = 0


class Claimed(NamedTuple):
    """``reserved``: a run that must be executed alone is kept for this worker (L6); claim
    nothing else until idle, then claim again."""

    leases: list[Lease]
    reserved: bool


class LogRow(NamedTuple):
    """One row to write: a place in a run's log, the lease it is written under, the record."""

    run_id: str
    seq: int
    epoch: int
    record: Record


class Message(NamedTuple):
    """A part of a run's stored requests (Z1), named by all that came before it: ``node``, its
    ``parent`` or b"", and the ``body``."""

    run_id: str
    node: bytes
    parent: bytes
    body: bytes


class Refusal(NamedTuple):
    """A row that was not written. ``lost``: the lease is another's. Otherwise its number was
    taken by someone else (a cancel, a signal): number again from ``next_seq`` and resend."""

    run_id: str
    seq: int
    lost: bool
    next_seq: int


@dataclass(frozen=True, slots=True)
class Wait:
    """What a parked run waits for. ``name`` of a signal; it wakes the run when a signal of that
    name with ``n`` > ``after`` is there. Reasons without a name (sleep, retry, uncertain, diverged,
    limit) wake by time, or by an operator."""

    reason: str  # "signal" | "sleep" | "retry" | "run" | "uncertain" | "diverged" | "limit"
    name: str | None = None
    after: int = 0
    until: datetime | None = None
    key: str | None = None  # hex key of the effect an operator has to resolve
    detail: str | None = None

    def to_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {"reason": self.reason}
        if self.name is not None:
            out["name"] = self.name
            out["after"] = self.after
        if self.until is not None:
            out["until"] = self.until.isoformat()
        if self.key is not None:
            out["key"] = self.key
        if self.detail is not None:
            out["detail"] = self.detail
        return out


@dataclass(frozen=True, slots=True)
class NextGeneration:
    """How a run goes on with a fresh journal (Z1): its new ``input``, and the numbers of the
    signals that were taken so far, which it does not meet again."""

    input: bytes
    taken: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Settlement:
    """An attempt's outcome, written in one transaction with its last ``records`` (numbered by the
    store). ``state`` is succeeded, failed, dead, cancelled, waiting, or queued (a hop, a drain).
    ``attempts`` is the new number of failures. A waiting run wakes at ``wake_in`` from now, or by
    what ``waits`` say; if a wanted signal or a cancel is already unread it becomes queued instead
    (C7). ``next`` goes with queued: what is in the log by now, ``records`` included, is no part of
    the journal any more."""

    run_id: str
    epoch: int
    state: RunState
    attempts: int = 0
    result: bytes | None = None
    error: bytes | None = None  # failure document, see codec.encode_failure
    waits: tuple[Wait, ...] = ()
    wake_in: timedelta | None = None
    records: tuple[Record, ...] = ()
    next: NextGeneration | None = None


class Settled(NamedTuple):
    """``state`` is what the run is now; None when the lease was lost and nothing was written."""

    run_id: str
    state: RunState | None


class Signal(NamedTuple):
    """A durable message to a run; ``n`` counts a run's signals from 1."""

    n: int
    name: str
    payload: bytes
    at: datetime


@dataclass(frozen=True, slots=True)
class Run:
    """A run as shown to people and programs. ``error`` is the failure document."""

    id: str
    agent: str
    state: RunState
    queue: str
    tenant: str
    priority: int
    session: str | None
    epoch: int
    attempts: int
    max_attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    ready_at: datetime | None
    wake_at: datetime | None
    deadline_at: datetime | None
    worker: str | None
    parent: str | None
    depth: int
    generation: int
    cancel_requested: bool
    alone: bool
    waits: list[dict[str, Any]]
    labels: dict[str, str]
    trace: str | None
    input: bytes | None
    result: bytes | None
    error: dict[str, Any] | None
    n: int = 0  # its place in the order in which runs were made; 0 where there is no store
    dismissed_at: datetime | None = None


class LogEvent(NamedTuple):
    """A row of a run's log as read: entries and events alike."""

    seq: int
    at: datetime
    epoch: int
    type: str
    key: bytes | None
    scope: bytes | None
    branch: str | None
    after: bytes | None
    kind: str | None
    name: str | None
    digest: bytes | None
    occurrence: int | None
    promise: str | None
    state: str | None
    took_ms: int | None
    value: bytes | None
    request: bytes | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs to list: newest first, ``limit`` of them, after the run id ``before`` (or after
    the place ``before_n``, which holds although that run was deleted). ``trace_id`` is 32 hex
    digits; ``dismissed`` is for dead runs."""

    agent: str | None = None
    states: tuple[RunState, ...] = ()
    tenant: str | None = None
    session: str | None = None
    parent: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    created_after: datetime | None = None
    created_before: datetime | None = None
    before: str | None = None
    before_n: int | None = None
    trace_id: str | None = None
    idempotency_key: str | None = None
    dismissed: bool | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Woken:
    """``count`` runs became ready; ``next_in`` is when the next timer is due, None for never."""

    count: int
    next_in: timedelta | None


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker incarnation. ``id`` is unique for each start of a process."""

    id: str
    host: str
    pid: int
    version: str
    queues: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Intake:
    """What a new run takes over from its agent's policy. ``cap``: at most so many of the agent's
    runs at a time; ``timeout``: from a run's creation on."""

    max_attempts: int = 5
    priority: int = 0
    cap: int | None = None
    timeout: timedelta | None = None


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """An agent as workers announce it."""

    name: str
    queue: str
    framework: str
    description: str = ""
    input_schema: dict[str, Any] | None = None
    durability: str = "journal"  # or "none"
    intake: Intake = field(default_factory=Intake)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """``hash`` is the SHA-256 of the secret; the secret itself is shown once and never kept."""

    id: str
    name: str
    hash: bytes
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One queue's runs by state; ``oldest_ready`` is how long the oldest queued run waits."""

    queue: str
    states: dict[str, int]
    oldest_ready: timedelta | None
