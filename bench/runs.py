"""Submitting runs through the store and waiting for them, as a client process does."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from perdure import codec
from perdure.core.run import RunState
from perdure.store import Store
from perdure.store.rows import Filter, NewRun, Run

CHUNK = 1000  # runs that are enqueued with one call
CALLS = 2  # calls under way at a time: one is prepared while the other is carried out


def new(agent: str, value: object, *, watch: bool = False) -> NewRun:
    """A run to enqueue."""
    return NewRun(str(uuid4()), agent, codec.encode(value), queue=agent, watch=watch)


async def enqueue(store: Store, runs: list[NewRun]) -> None:
    """Add runs, many at a time."""
    chunks = iter([runs[start : start + CHUNK] for start in range(0, len(runs), CHUNK)])

    async def lane() -> None:
        for chunk in chunks:
            await store.enqueue(chunk)

    await asyncio.gather(*[lane() for _ in range(CALLS)])


async def finished(store: Store, run: NewRun, *, within: float = 30.0) -> Run:
    """Enqueue a run and return it as soon as it is final, with its result."""
    moved = asyncio.Event()
    undo = store.listen(f"run:{run.id}", lambda _: moved.set())
    try:
        async with asyncio.timeout(within):
            await store.enqueue([run])
            while True:
                await moved.wait()
                moved.clear()
                found = await store.get(run.id)
                if found.state.final:
                    return found
    finally:
        undo()


async def count(store: Store, state: RunState, agent: str) -> int:
    """How many runs of an agent are in a state."""
    for queue in await store.stats():
        if queue.queue == agent:
            return queue.states.get(str(state), 0)
    return 0


async def until(
    store: Store, state: RunState, agent: str, number: int, *, within: float = 300.0
) -> None:
    """Wait until so many runs of an agent are in a state."""
    async with asyncio.timeout(within):
        while await count(store, state, agent) < number:
            await asyncio.sleep(0.05)


async def all_of(store: Store, agent: str, *states: RunState) -> list[Run]:
    """Every run of an agent."""
    found: list[Run] = []
    while page := await store.find(
        Filter(agent=agent, states=states, before=found[-1].id if found else None, limit=500)
    ):
        found += page
    return found
