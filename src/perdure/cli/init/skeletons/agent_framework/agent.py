"""An agent of Microsoft's Agent Framework: nothing in it knows of Perdure."""

from agent_framework import Agent
from agent_framework.openai import OpenAIChatClient


async def weather(city: str) -> str:
    """Today's weather in a city."""
    return f"It rains in {city}."  # ask your own service here


agent = Agent(
    OpenAIChatClient(model="gpt-5.4"),
    name="agent",
    instructions="You answer questions about the weather. Be brief.",
    tools=[weather],
)
