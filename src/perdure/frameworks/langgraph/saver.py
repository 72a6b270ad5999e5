"""A private checkpointer for the time of one attempt.

``interrupt()`` needs a checkpointer. A graph that has none gets this one: it keeps the state of an
interrupted graph in memory until the answer is there. It serializes nothing, since state of such a
graph may hold anything (clients, data frames), and it need not outlive the attempt: a later attempt
replays the journal from the input and arrives at the same interrupt.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver


class _AsItIs:
    """Keeps objects themselves; of a checkpoint's own bookkeeping a copy, since the loop goes on
    changing it."""

    def dumps_typed(self, obj: Any) -> tuple[str, Any]:
        if isinstance(obj, dict) and "channel_versions" in obj:
            return "checkpoint", copy.deepcopy(obj)
        return "object", obj

    def loads_typed(self, data: tuple[str, Any]) -> Any:
        kind, obj = data
        return copy.deepcopy(obj) if kind == "checkpoint" else obj


class PrivateSaver(InMemorySaver):
    """See the module's text. ``durability="exit"`` keeps it to one checkpoint an interrupt."""

    def __init__(self) -> None:
        super().__init__(serde=_AsItIs())

    def with_allowlist(
        self, extra_allowlist: Collection[tuple[str, ...]]
    ) -> BaseCheckpointSaver[str]:
        return self  # nothing is deserialized that could need allowing
