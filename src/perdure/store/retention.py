"""How long runs are kept: rules by agent and state, and what the stores say of old runs.

Pure. The unit of deletion is a family: a run that no other run started, with all below it. Its own
rule decides; a run that another run started is kept as long as that one, because a parent that is
redriven asks for it again. Nothing of a family goes before all of it is final and old enough, and
the idempotency key's window is over (X3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from perdure.config import RetentionConfig
from perdure.core.run import FINAL, RunState
from perdure.errors import ConfigError

SHORTEST_GRACE = timedelta(hours=1)  # of blobs that nothing refers to
Ages = Mapping[RunState, timedelta | None]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long after its end a run is kept; None, or no entry: for ever. An agent's own ages go
    before the general ones, state by state."""

    ages: Ages = field(default_factory=dict)
    agents: Mapping[str, Ages] = field(default_factory=dict)

    def age(self, agent: str, state: RunState) -> timedelta | None:
        """How long a run of ``agent`` that ended in ``state`` is kept."""
        own = self.agents.get(agent, {})
        return own[state] if state in own else self.ages.get(state)

    @property
    def shortest(self) -> timedelta | None:
        """Runs that were made after this age need not be looked at. None: nothing is deleted."""
        rules = (self.ages, *self.agents.values())
        every = [age for ages in rules for age in ages.values() if age is not None]
        return min(every, default=None)


@dataclass(frozen=True, slots=True)
class Keeping:
    """All that is deleted in time: final runs by ``retention``; the logs of earlier ``generations``
    of runs that go on (Z1); ``blobs`` that nothing refers to; ``charges``, the ledger's rows, by
    themselves. None: never."""

    retention: Retention = field(default_factory=Retention)
    generations: timedelta | None = None
    blobs: timedelta | None = None
    charges: timedelta | None = None

    @property
    def anything(self) -> bool:
        """Whether anything is ever deleted."""
        ages = (self.retention.shortest, self.generations, self.blobs, self.charges)
        return any(age is not None for age in ages)


def make_keeping(config: RetentionConfig) -> Keeping:
    """What the settings say. Raises ConfigError for blobs that would go too soon."""
    if config.blobs is not None and config.blobs < SHORTEST_GRACE:
        raise ConfigError(
            f"retention.blobs is {config.blobs}; the shortest is {SHORTEST_GRACE}.",
            hint="A value is written some time before what refers to it.",
        )
    general = {state: getattr(config, state.value) for state in FINAL}
    own = {
        agent: {RunState(state): age for state, age in ages.items()}
        for agent, ages in config.agents.items()
    }
    return Keeping(Retention(general, own), config.generations, config.blobs, config.charges)


class OldRun(NamedTuple):
    """A final run that no other run started, or whose parent is gone."""

    id: str
    agent: str
    state: RunState
    finished_at: datetime


class OldPage(NamedTuple):
    """Some of the runs, the oldest first. ``after`` is where to go on, None at the end."""

    runs: list[OldRun]
    after: int | None


class Doomed(NamedTuple):
    """A family to delete: the run it began with, if all of it ended before ``ended_before``."""

    id: str
    ended_before: datetime


class Trimmed(NamedTuple):
    """What one portion of shortening logs took away, and where to go on, None at the end."""

    rows: int
    after: int | None


class Cleared(NamedTuple):
    """What one portion of deleting took away. ``left``: there is more to do."""

    rows: int
    left: bool


def doomed(runs: list[OldRun], rules: Retention, now: datetime) -> list[Doomed]:
    """Which of these runs are past their age."""
    found = []
    for run in runs:
        age = rules.age(run.agent, run.state)
        if age is not None and run.finished_at <= now - age:
            found.append(Doomed(run.id, now - age))
    return found
