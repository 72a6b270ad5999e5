"""An agent of Google's Agent Development Kit: nothing in it knows of Perdure."""

from google.adk.agents import Agent


async def weather(city: str) -> str:
    """Today's weather in a city."""
    return f"It rains in {city}."  # ask your own service here


agent = root_agent = Agent(
    name="agent",
    model="gemini-3.5-flash",
    description="Answers questions about the weather.",
    instruction="You answer questions about the weather. Be brief.",
    tools=[weather],
)
