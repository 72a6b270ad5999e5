"""An agent of the OpenAI Agents SDK: nothing in it knows of Perdure."""

from agents import Agent, function_tool


@function_tool
async def weather(city: str) -> str:
    """Today's weather in a city."""
    return f"It rains in {city}."  # ask your own service here


agent = Agent(
    name="agent",
    model="gpt-5.4",
    instructions="You answer questions about the weather. Be brief.",
    tools=[weather],
)
