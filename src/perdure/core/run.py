"""What a run is: its states, the events that move it, and the table that says which may.

Invariant: a final state is never left, except by an operator's redrive of a ``failed`` or
``dead`` run. Both stores and the runtime go by this one table.
"""

from __future__ import annotations

from enum import StrEnum

from perdure.errors import Conflict


class RunState(StrEnum):
    BLOCKED = "blocked"  # queued behind its session's head or a cap
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"  # parked: for a time, a signal, a retry, an operator
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the agent's own final word
    DEAD = "dead"  # attempts used up, or it kept taking its worker down
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in FINAL

    @property
    def says(self) -> str:
        """With its verb: ``is queued``, ``has succeeded``."""
        return _SAYS.get(self, f"is {self.value}")


FINAL = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.DEAD, RunState.CANCELLED})

_SAYS = {
    RunState.SUCCEEDED: "has succeeded",
    RunState.FAILED: "has failed",
    RunState.CANCELLED: "was cancelled",
}


class Event(StrEnum):
    PROMOTED = "promoted"  # the run ahead settled, or a cap has room
    BLOCKED = "blocked"
    CLAIMED = "claimed"
    PARKED = "parked"  # to wait for something
    HOPPED = "hopped"  # gave its worker back, wants the next one at once
    ORPHANED = "orphaned"  # its worker died or lost its lease
    WOKEN = "woken"  # time, signal, resolution
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXHAUSTED = "exhausted"
    CANCELLED = "cancelled"
    REDRIVEN = "redriven"


_S, _E = RunState, Event

# A pair absent here is a bug, not a case to handle.
TRANSITIONS: dict[tuple[RunState, Event], RunState] = {
    (_S.BLOCKED, _E.PROMOTED): _S.QUEUED,
    (_S.BLOCKED, _E.CANCELLED): _S.CANCELLED,
    (_S.QUEUED, _E.BLOCKED): _S.BLOCKED,
    (_S.QUEUED, _E.CLAIMED): _S.RUNNING,
    (_S.QUEUED, _E.CANCELLED): _S.CANCELLED,
    (_S.QUEUED, _E.EXHAUSTED): _S.DEAD,
    (_S.RUNNING, _E.PARKED): _S.WAITING,
    (_S.RUNNING, _E.HOPPED): _S.QUEUED,
    (_S.RUNNING, _E.ORPHANED): _S.QUEUED,
    (_S.RUNNING, _E.SUCCEEDED): _S.SUCCEEDED,
    (_S.RUNNING, _E.FAILED): _S.FAILED,
    (_S.RUNNING, _E.EXHAUSTED): _S.DEAD,
    (_S.RUNNING, _E.CANCELLED): _S.CANCELLED,
    (_S.WAITING, _E.WOKEN): _S.QUEUED,
    (_S.WAITING, _E.FAILED): _S.FAILED,
    (_S.WAITING, _E.CANCELLED): _S.CANCELLED,
    (_S.FAILED, _E.REDRIVEN): _S.QUEUED,
    (_S.DEAD, _E.REDRIVEN): _S.QUEUED,
}


def advance(state: RunState, event: Event) -> RunState:
    """The state after ``event``. Raises :class:`Conflict` when the table has no such move."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise Conflict(f"A run that {state.says} cannot be {event}.", state=str(state)) from None
