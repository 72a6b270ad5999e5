"""Two agents as people write them, in two frameworks and for two providers. Nothing in them knows
of limits, budgets or targets."""

from __future__ import annotations

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from pydantic_ai import Agent


def weather(city: str) -> str:
    """The weather in a city."""
    return f"It is mild in {city}."


guide = create_agent(
    ChatAnthropic(model_name="claude-sonnet-5-5", timeout=None, stop=None), tools=[weather]
)
clerk = Agent("openai-chat:gpt-5", name="clerk", tools=[weather])
