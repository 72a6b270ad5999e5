"""LangGraph with its PostgreSQL checkpointer: a graph of one node that runs once for each step,
with ``durability="sync"`` (a checkpoint is written before the next step begins, which is the
promise that Perdure gives). One saver holds a lock around every statement, so there are several,
with graphs of their own, over one pool of connections.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, TypedDict
from uuid import uuid4

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from bench.peers.task import Task, answer, given

SAVERS = 8


class State(TypedDict):
    n: int
    left: int
    last: dict[str, int]


async def tick(state: State) -> dict[str, Any]:
    n = state["n"]
    return {"n": n + 1, "left": state["left"] - 1, "last": {"n": n, "twice": n * 2}}


def build(saver: AsyncPostgresSaver) -> Any:
    graph = StateGraph(State)
    graph.add_node("tick", tick)
    graph.add_edge(START, "tick")
    graph.add_conditional_edges("tick", lambda state: "tick" if state["left"] else END)
    return graph.compile(checkpointer=saver)


async def many(graphs: list[Any], runs: int, at_once: int, steps: int) -> float:
    """Seconds until every run has ended."""
    room = asyncio.Semaphore(at_once)

    async def one(i: int) -> None:
        async with room:
            state = await graphs[i % len(graphs)].ainvoke(
                {"n": 0, "left": steps, "last": {}},
                {"configurable": {"thread_id": str(uuid4())}, "recursion_limit": steps + 5},
                durability="sync",
            )
            if state["n"] != steps:
                raise RuntimeError("another result")

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for i in range(runs):
            group.create_task(one(i))
    return time.perf_counter() - begun


async def main(task: Task) -> None:
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(
        task.dsn, min_size=SAVERS, max_size=SAVERS, kwargs=options
    ) as pool:
        savers = [AsyncPostgresSaver(pool) for _ in range(SAVERS)]  # type: ignore[arg-type]
        await savers[0].setup()
        graphs = [build(saver) for saver in savers]
        await many(graphs, min(task.at_once, task.runs), task.at_once, 2)
        taken = await many(graphs, task.runs, task.at_once, task.steps)
        answer(rate=task.effects / taken, how=f"{SAVERS} savers over a pool, durability=sync")


if __name__ == "__main__":
    asyncio.run(main(given()))
