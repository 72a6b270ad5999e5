"""An agent of LangChain, which is a LangGraph graph: nothing in it knows of Perdure."""

from langchain.agents import create_agent
from langchain_core.tools import tool


@tool
def weather(city: str) -> str:
    """Today's weather in a city."""
    return f"It rains in {city}."  # ask your own service here


agent = create_agent(
    "anthropic:claude-sonnet-5-5",
    tools=[weather],
    system_prompt="You answer questions about the weather. Be brief.",
)
