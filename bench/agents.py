"""The agents that the benchmarks run; a TARGET for ``perdure worker`` and ``perdure serve``."""

from __future__ import annotations

import asyncio
import json
import os
import time

import perdure
from perdure import App, step
from perdure.core.guard import Limits

app = App()
UNGUARDED = Limits(model_calls=None, effects=None, repeats=None)


@step
async def tick(n: int) -> dict[str, int]:
    return {"n": n, "twice": n * 2}


@app.agent(limits=UNGUARDED)
async def ticks(n: int) -> int:
    """n tiny steps."""
    total = 0
    for i in range(n):
        total += (await tick(i))["n"]
    return total


@app.agent
async def noop(n: int) -> int:
    """Nothing but a result."""
    return n


@app.agent(name="echo")
async def echo(text: str) -> str:
    """What is served over HTTP, as a run."""
    return text


@app.agent(name="direct", durability="none")
async def direct(text: str) -> str:
    """The same without a run."""
    return text


@app.agent(limits=UNGUARDED, park_after=0)
async def pausing(n: int) -> int:
    """n tiny steps, then a wait that parks at once."""
    for i in range(n):
        await tick(i)
    await perdure.wait_for("go")
    return n


@step
async def forever() -> None:
    await asyncio.Event().wait()


@app.agent
async def held(n: int) -> None:
    """A few steps, then an effect that stays in flight."""
    for i in range(n):
        await tick(i)
    await forever()


@step
async def noted(run: str, n: int, seconds: float) -> int:
    """Says when and where it began, then takes its time."""
    line = json.dumps({"run": run, "n": n, "pid": os.getpid(), "at": time.time()})
    with open(os.environ["PERDURE_BENCH_NOTES"], "a") as notes:
        notes.write(line + "\n")
    await asyncio.sleep(seconds)
    return n


@app.agent
async def walking(walk: dict[str, float]) -> int:
    """Steps that tell of themselves: ``{"steps": n, "seconds": of each}``."""
    run = perdure.current().run_id
    steps = int(walk["steps"])
    for i in range(steps):
        await noted(run, i, walk["seconds"])
    return steps
