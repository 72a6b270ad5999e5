"""A plain Python agent. Nothing but the decorators says that it is durable.

Try it:

    perdure dev examples/trip.py:plan
    curl -s localhost:8080/api/agents/plan/runs?wait=10 -d '{"input": "Lisbon"}'
"""

import asyncio

import perdure


@perdure.step(retries=3)
async def weather(city: str) -> dict[str, str]:
    """Pretends to ask a weather service."""
    await asyncio.sleep(0.5)
    return {"city": city, "sky": "clear"}


@perdure.tool(effect="once")
async def book(city: str) -> str:
    """Pretends to book: at most once, whatever dies in the middle."""
    return f"booked a room in {city}"


async def plan(city: str) -> str:
    """Plans a trip."""
    found = await asyncio.gather(weather(city), weather(f"{city} (coast)"))
    perdure.emit("weather", found)
    return f"{await book(city)}; the sky is {found[0]['sky']}"
