"""Checkpointers for the time of one attempt: a private one, and a fence around the user's own.

``interrupt()`` needs a checkpointer. A graph that has none gets this one: it keeps the state of an
interrupted graph in memory until the answer is there. It serializes nothing, since state of such a
graph may hold anything (clients, data frames), and it need not outlive the attempt: a later attempt
replays the journal from the input and arrives at the same interrupt.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt


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


def fenced(saver: BaseCheckpointSaver[Any], attempt: Attempt) -> BaseCheckpointSaver[Any]:
    """``saver`` for one attempt: while the graph is being unwound, or when its run is another
    worker's, it saves nothing, because LangGraph would note the unwinding as its nodes' failure,
    and a resumed graph would run their error handlers."""
    within = copy.copy(saver)

    def put(config: Any, *args: Any, **kwargs: Any) -> Any:
        return config if attempt.void else saver.put(config, *args, **kwargs)

    async def aput(config: Any, *args: Any, **kwargs: Any) -> Any:
        return config if attempt.void else await saver.aput(config, *args, **kwargs)

    def put_writes(*args: Any, **kwargs: Any) -> None:
        if not attempt.void:
            saver.put_writes(*args, **kwargs)

    async def aput_writes(*args: Any, **kwargs: Any) -> None:
        if not attempt.void:
            await saver.aput_writes(*args, **kwargs)

    vars(within).update(put=put, aput=aput, put_writes=put_writes, aput_writes=aput_writes)
    return within
