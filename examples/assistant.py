"""A LangGraph agent, as LangChain's documentation has it. It does not know Perdure.

Try it:

    export ANTHROPIC_API_KEY=...
    perdure dev examples/assistant.py:agent
"""

from langchain.agents import create_agent
from langchain_core.tools import tool


@tool
def get_weather(city: str) -> str:
    """Get weather for a given city."""
    return f"It's always sunny in {city}!"


agent = create_agent(
    model="anthropic:claude-sonnet-5-5",
    tools=[get_weather],
    system_prompt="You are a helpful assistant",
)
