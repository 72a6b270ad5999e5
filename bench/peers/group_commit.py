"""The bare limit of durable steps as a contender: see bench/limits.py."""

from __future__ import annotations

import asyncio

from bench.limits import postgres_limit
from bench.peers.task import Task, answer, given


async def main(task: Task) -> None:
    each = task.effects // task.at_once
    rounds = [
        await postgres_limit(task.dsn, runs=task.at_once, steps=number)
        for number in (task.steps, each)
    ]
    answer(rate=rounds[-1][0].per_second, how="three columns, no fence, one statement in flight")


if __name__ == "__main__":
    asyncio.run(main(given()))
