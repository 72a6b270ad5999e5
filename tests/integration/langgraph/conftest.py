"""Real LangGraph and LangChain agents, real SDK clients, the provider simulator behind their
official addresses, a real store; workers that are stopped and started over it."""

from __future__ import annotations

from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel

from tests.integration.stage import Provide, Tally, ground, provide, tally

__all__ = ["Provide", "Tally", "claude", "ground", "provide", "tally"]


def claude() -> BaseChatModel:
    """Made by its SDK, as users make it."""
    return init_chat_model("anthropic:claude-haiku-5-5")
