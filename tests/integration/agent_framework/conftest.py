"""Real agents and workflows of Microsoft Agent Framework, its OpenAI client, the provider simulator
behind the official address, a real store; workers that are stopped and started over it."""

from __future__ import annotations

from typing import Any

from agent_framework.openai import OpenAIChatClient, OpenAIChatCompletionClient

from tests.integration.stage import ground, provide, tally

__all__ = ["ground", "provide", "tally"]

CLIENTS = {"responses": OpenAIChatClient, "chat": OpenAIChatCompletionClient}


def gpt(api: str = "responses") -> Any:
    """Made by Agent Framework, as users make it."""
    return CLIENTS[api](model="gpt-5-mini", api_key="any")
