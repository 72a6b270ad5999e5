"""A graph keeps checkpoints where its owner said. A rehearsal works on a copy that goes away (X2):
the run's thread, put into a checkpointer in memory."""

from __future__ import annotations

import asyncio
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from perdure.errors import PerdureError, StoreUnavailable
from perdure.runtime.agent import Agent
from perdure.store.rows import Run

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple


async def detached(agent: Agent, run: Run, *, from_input: bool) -> Agent:
    """The agent with a checkpointer of its own. ``from_input``: without what the run itself saved,
    so that it begins at its input as its first attempt did. Raises StoreUnavailable where its
    checkpoints cannot be read."""
    if agent.framework != "langgraph":
        return agent
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.checkpoint.memory import InMemorySaver

    from perdure.frameworks import adapt
    from perdure.frameworks.langgraph.graph_run import STAMP

    graph = agent.target
    saver = getattr(graph, "checkpointer", None)
    if not isinstance(saver, BaseCheckpointSaver):
        return agent
    try:
        found = await _read(saver, run.session or run.id)
    except PerdureError:
        raise
    except Exception as error:  # whatever the user's checkpointer raises
        raise StoreUnavailable(
            f"The checkpoints of the agent {agent.name!r} cannot be read: "
            f"{type(error).__name__}: {error}",
            hint="Run this where the agent's own checkpointer works.",
        ) from error
    if from_input:
        found = [one for one in found if (one.metadata or {}).get(STAMP) != run.id]
    memory = InMemorySaver(serde=saver.serde)
    for one in found:
        config: Any = one.parent_config or {"configurable": {**one.config["configurable"]}}
        if one.parent_config is None:
            config["configurable"].pop("checkpoint_id", None)
        versions = one.checkpoint["channel_versions"]
        put = memory.put(config, one.checkpoint, one.metadata, versions)
        by_task: dict[str, list[tuple[str, Any]]] = {}
        for task, channel, value in one.pending_writes or ():
            by_task.setdefault(task, []).append((channel, value))
        for task, writes in by_task.items():
            memory.put_writes(put, writes, task)
    graph = copy(graph)
    graph.checkpointer = memory
    made = adapt(graph, name=agent.name, tools=agent.tools, policy=agent.policy)
    return replace(agent, invoke=made.invoke, sync=made.sync, namer=made.namer, target=graph)


async def _read(saver: BaseCheckpointSaver[Any], thread: str) -> list[CheckpointTuple]:
    """The thread's checkpoints, the oldest first."""
    config: Any = {"configurable": {"thread_id": thread}}
    try:
        found = [one async for one in saver.alist(config)]
    except NotImplementedError:  # a checkpointer for synchronous graphs
        found = await asyncio.to_thread(lambda: list(saver.list(config)))
    return found[::-1]
