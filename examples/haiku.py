"""An agent of the OpenAI Agents SDK, as its documentation has it. It does not know Perdure.

Try it:

    export OPENAI_API_KEY=...
    perdure dev examples/haiku.py:agent
"""

from agents import Agent, function_tool


@function_tool
def get_weather(city: str) -> str:
    """Get the weather for a given city."""
    return f"The weather in {city} is sunny."


agent = Agent(
    name="Haiku agent",
    instructions="Always respond in haiku form",
    model="gpt-5-nano",
    tools=[get_weather],
)
