"""A record: one row of a run's log, which is its journal and its event log in one.

Every journal entry is an event, so writing it once makes both durable together: an event can
not be lost or repeated when its entry is not (rule E1). ``seq`` numbers the rows of a run from 1
without gaps. Entries are never updated: an effect that passes from intent to done is two rows
with one ``key``, and the last row of a key counts.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class RecordType(StrEnum):
    """What a row says. Only ``entry`` rows take part in replay."""

    ENTRY = "entry"
    STATUS = "status"  # a change of the run's state; name = the new state
    ATTEMPT = "attempt.started"  # text of earlier attempts after the last done entry is void
    STARTED = "effect.started"  # a tool or model call goes out; nobody waits for this row
    DELTA = "delta"  # coalesced pieces of a model's answer
    WARNING = "warning"  # e.g. a changed prompt was answered from the journal
    SIGNAL = "signal"  # a signal arrived


class EntryState(StrEnum):
    INTENT = "intent"  # it may be happening or have happened
    DONE = "done"
    FAILED = "failed"
    ABANDONED = "abandoned"  # the agent itself cancelled it (F3)
    VOID = "void"  # as if it had never been recorded (F1, an operator's "do it again")


class Kind(StrEnum):
    MODEL = "model"
    TOOL = "tool"
    STEP = "step"
    SLEEP = "sleep"
    SIGNAL = "signal"
    RUN = "run"  # a child run
    CLOCK = "clock"
    RANDOM = "random"
    EMIT = "emit"


class Promise(StrEnum):
    """What an effect promises decides what a crash in the middle of it means (P1)."""

    READS = "reads"
    IDEMPOTENT = "idempotent"
    ONCE = "once"
    UNDECLARED = "undeclared"


class Record(NamedTuple):
    """A row about to be written, in the order of the log's columns after ``seq``.

    ``at`` is set by the store's clock; ``took_ms`` is how long the effect ran, in milliseconds.
    ``value`` is codec bytes (see ``core.codec``): an entry's result, failure or intent, an
    event's data. ``request`` is the tip of a stored request (rule Z1) or None.
    """

    type: str
    key: bytes | None = None
    scope: bytes | None = None
    branch: str | None = None
    after: bytes | None = None
    kind: str | None = None
    name: str | None = None
    digest: bytes | None = None
    occurrence: int | None = None
    promise: str | None = None
    state: str | None = None
    took_ms: int | None = None
    value: bytes | None = None
    request: bytes | None = None


class Entry(NamedTuple):
    """The last row of one effect's key, as read back for replay (rule K1).

    ``value`` is None when ``size`` bytes are to be fetched lazily (rule Z1).
    ``until`` of an intent is inside its value. ``answered``: an operator said what it gave after it
    was over, because the agent no longer asks for just this (K7).
    """

    seq: int
    epoch: int
    key: bytes
    scope: bytes
    branch: str
    after: bytes
    kind: str
    name: str
    digest: bytes
    occurrence: int
    promise: str
    state: str
    took_ms: int
    value: bytes | None
    size: int
    answered: bool = False


def fold(entries: list[Entry]) -> list[Entry]:
    """One entry a key, the last row of each, in the order in which the keys first appeared.

    A void row takes its key out altogether; a later row of that key starts it anew. A worker never
    writes what is done a second time: that is an operator's answer.
    """
    last: dict[bytes, Entry] = {}
    for entry in entries:
        if entry.state == EntryState.VOID:
            last.pop(entry.key, None)
        else:
            before = last.get(entry.key)
            if before is not None and before.state == entry.state == EntryState.DONE:
                entry = entry._replace(answered=True)
            last[entry.key] = entry
    return list(last.values())
