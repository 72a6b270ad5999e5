"""Which question of a task it is that waits.

Before 1.2.20 LangGraph gives every ``interrupt()`` of a task the id of the first, so that the
second would be taken for the first, and answered with its answer. How many answers the task has
had is in its checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import version

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import Interrupt, StateSnapshot

INTERRUPT, RESUME = "__interrupt__", "__resume__"
ONE_ID = [int(n) for n in re.findall(r"\d+", version("langgraph"))[:3]] < [1, 2, 20]


@dataclass(frozen=True, slots=True)
class Asker:
    """A task that asks under the id of its first question, and where its checkpoint is."""

    question: str
    task: str
    checkpoint: RunnableConfig


def askers(snapshot: StateSnapshot) -> list[Asker]:
    """The tasks of a graph and of its subgraphs (a snapshot with ``subgraphs=True``) that a
    question could be the second of."""
    found: list[Asker] = []
    within = snapshot.config["configurable"].get("checkpoint_ns", "")
    for task in snapshot.tasks:
        if isinstance(task.state, StateSnapshot):
            found += askers(task.state)
        name = f"{within}|{task.name}" if within else task.name
        first = Interrupt.from_ns(None, f"{name}:{task.id}").id
        found += [Asker(first, task.id, snapshot.config) for i in task.interrupts if i.id == first]
    return found


def answered(asker: Asker, saved: CheckpointTuple | None) -> int:
    """How many questions of the task have been answered."""
    return _answers(saved, asker.task) if saved is not None else 0


def _answers(saved: CheckpointTuple, task: str) -> int:
    for written_by, channel, value in saved.pending_writes or ():
        if written_by == task and channel == RESUME:
            return len(value) if isinstance(value, list) else 1
    return 0


class Search:
    """For the tasks of questions that are in no snapshot, because a node's function called their
    graph: look at all checkpoints of the thread."""

    def __init__(self, questions: Collection[str]) -> None:
        self._questions = questions
        self._found: dict[str, tuple[int, int]] = {}

    def take(self, saved: CheckpointTuple) -> None:
        """One of the checkpoints. A question is in those of the graphs around its own too: the
        innermost one's task asked it."""
        depth = len(saved.config["configurable"].get("checkpoint_ns", ""))
        for task, channel, value in saved.pending_writes or ():
            if channel == INTERRUPT:
                for asked in value:
                    seen = (depth, _answers(saved, task))
                    if asked.id in self._questions and seen > self._found.get(asked.id, (-1, 0)):
                        self._found[asked.id] = seen

    def rounds(self) -> dict[str, int]:
        """The answers that each question's task has had."""
        return {question: count for question, (_, count) in self._found.items()}
