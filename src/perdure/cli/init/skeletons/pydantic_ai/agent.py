"""An agent of Pydantic AI: nothing in it knows of Perdure."""

from pydantic_ai import Agent

agent = Agent(
    "anthropic:claude-sonnet-5-5",
    name="agent",
    instructions="You answer questions about the weather. Be brief.",
)


@agent.tool_plain
async def weather(city: str) -> str:
    """Today's weather in a city."""
    return f"It rains in {city}."  # ask your own service here
