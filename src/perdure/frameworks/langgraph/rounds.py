"""Which question of a task it is that waits.

Before 1.2.20 LangGraph gives every ``interrupt()`` of a task the id of the first, so that the
second would be taken for the first, and answered with its answer. How many answers the task has
had is in its checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import Interrupt, StateSnapshot

RESUME = "__resume__"


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
    for task, channel, value in (saved and saved.pending_writes) or ():
        if task == asker.task and channel == RESUME:
            return len(value) if isinstance(value, list) else 1
    return 0
