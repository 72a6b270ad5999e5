"""What a contender is asked to do, and how it answers: JSON as its last argument, one line of JSON
back. It runs in an environment without Perdure, so this knows the standard library alone."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Task:
    """``job`` is ``steps`` (``runs`` runs of ``steps`` tiny steps, ``at_once`` in flight),
    ``queue`` (``runs`` jobs that return their number) or ``latency`` (such jobs, one at a time).
    ``dsn`` is a new database, ``folder`` an empty folder, ``redis`` a URL."""

    job: str
    dsn: str
    folder: str
    redis: str
    runs: int
    at_once: int
    steps: int

    @property
    def effects(self) -> int:
        return self.runs * self.steps


def given() -> Task:
    """The task of this process."""
    return Task(**json.loads(sys.argv[-1]))


def answer(*, rate: float | None = None, times: list[float] | None = None, how: str) -> None:
    """``rate``: steps or jobs a second; ``times``: seconds of each job. ``how``: the way that was
    chosen, in a few words."""
    print(json.dumps({"rate": rate, "times": times, "how": how}), flush=True)
