"""A run that starts runs, and sleeps for days in between, without holding a worker.

Try it:

    perdure run examples/digest.py --agent digest --input '["tides", "moons"]'
"""

import asyncio
from datetime import timedelta

import perdure
from perdure import App

app = App()


@perdure.step(effect="reads", retries=3, timeout=30)
async def fetch(topic: str) -> str:
    """Pretends to read the news."""
    return f"{topic}: nothing new"


async def look(topic: str) -> str:
    """Looks at a topic. A run of its own, so that another worker may take it."""
    return await fetch(topic)


looker = app.add(look, timeout=300)


@app.agent
async def digest(topics: list[str], rounds: int = 1) -> list[str]:
    """Looks at all topics at once; three days later again."""
    found: list[str] = []
    for number in range(rounds):
        if number:
            await perdure.sleep(timedelta(days=3))
        found += await asyncio.gather(*(looker.run(topic) for topic in topics))
    return found
