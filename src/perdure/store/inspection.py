"""What can be wrong in a database, in words: what it means, and what mending it does.

Nothing here should ever be found. A crash leaves none of it; a restored backup, a deleted file, a
hand in the tables or a mistake of Perdure's may. A repair is offered only where it can lose
nothing: it does what would have happened by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


class Finding(NamedTuple):
    """Something that should not be. ``subject`` is what it is about: a run, a worker, a blob."""

    code: str
    subject: str
    detail: str = ""


class Explained(NamedTuple):
    """``meaning`` is a sentence; ``repair`` says what mending does, None where nothing is safe and
    ``advice`` says what to do instead."""

    meaning: str
    repair: str | None = None
    advice: str = ""


EXPLAINED: dict[str, Explained] = {
    "stranger": Explained(
        "The run is leased to a worker that is no member.",
        "it is queued again, as after its worker's death",
    ),
    "holder_of_final": Explained(
        "The run is over and still names a worker.", "the worker's name is removed"
    ),
    "head_of_final": Explained(
        "The run is over and still holds its session.", "the session's next run goes on"
    ),
    "slot_of_idle": Explained(
        "The run holds a slot of its agent's cap, though it is neither queued nor running.",
        "the slot is given to the next run",
    ),
    "slot_missing": Explained(
        "The run counts against a cap, but holds no slot of it.", "it gets its slot"
    ),
    "blocked_for_nothing": Explained(
        "The run is blocked, and nothing is before it.", "it is queued"
    ),
    "missed_signal": Explained("The run waits for a signal that is there.", "it is queued"),
    "missed_child": Explained(
        "The run waits for a run that is over and did not tell it.", "it is told"
    ),
    "lost_child": Explained(
        "The run waits for a run that does not exist.",
        advice="perdure runs cancel RUN; it cannot end by itself",
    ),
    "waits_for_nothing": Explained(
        "The run waits, and nothing would ever wake it.", "it is queued and looks again"
    ),
    "overdue": Explained(
        "The run's time came more than a minute ago, and nobody woke it.",
        advice="start a worker: whichever leads wakes it",
    ),
    "key_without_end": Explained(
        "The run is over, and its idempotency key has no end.", "the key's window is counted"
    ),
    "orphan_log": Explained("Rows of a log belong to no run.", "they are deleted"),
    "orphan_requests": Explained("Stored requests belong to no run.", "they are deleted"),
    "orphan_rows": Explained(
        "Signals, slots or idempotency keys belong to no run.", "they are deleted"
    ),
    "gap": Explained(
        "The run's log has a gap.",
        advice="restore a backup, or cancel the run; its journal cannot be trusted",
    ),
    "leftover": Explained(
        "Deleting old runs was broken off; what they left is not needed.", "it is deleted"
    ),
    "damaged": Explained(
        "The database file is damaged.", advice="restore a backup, or try: sqlite3 FILE .recover"
    ),
    "missing_blob": Explained(
        "A run refers to a large value that is not there.",
        advice="restore it to store.blobs; until then the run fails where it needs it",
    ),
    "damaged_blob": Explained(
        "A large value is not what was stored.", advice="restore it to store.blobs"
    ),
    "orphan_blob": Explained(
        "Large values that nothing refers to take up space.",
        advice="set retention.blobs, or: perdure db prune --blobs 1d",
    ),
}
ORDER = {code: place for place, code in enumerate(EXPLAINED)}  # mended in it, one helps the next
ORPHANS = {"orphan_log": "log", "orphan_requests": "messages"}
PAGE = 1000  # runs whose logs are looked at together


class TableUsage(NamedTuple):
    """``exact`` is False where a large table's rows are an estimate; ``size`` in bytes, with
    indexes, None where the database does not tell."""

    name: str
    rows: int
    size: int | None
    exact: bool


@dataclass(frozen=True, slots=True)
class RunsUsage:
    """How many runs of an agent are in a state, and since when the oldest is there."""

    agent: str
    state: str
    count: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class Usage:
    """What a database holds. ``size``: bytes of all of it."""

    size: int
    tables: list[TableUsage] = field(default_factory=list)
    runs: list[RunsUsage] = field(default_factory=list)
