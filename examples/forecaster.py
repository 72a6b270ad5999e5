"""An agent of Microsoft Agent Framework, as its documentation has it. It does not know Perdure.

Try it:

    export OPENAI_API_KEY=...
    perdure dev examples/forecaster.py:agent
"""

from typing import Annotated

from agent_framework import Agent, tool
from agent_framework.openai import OpenAIChatClient
from pydantic import Field


@tool(approval_mode="never_require")
def get_weather(
    location: Annotated[str, Field(description="The location to get the weather for.")],
) -> str:
    """Get the weather for a given location."""
    return f"The weather in {location} is cloudy with a high of 15°C."


agent = Agent(
    client=OpenAIChatClient(model="gpt-5-mini"),
    name="WeatherAgent",
    instructions="You are a helpful weather agent.",
    tools=[get_weather],
)
