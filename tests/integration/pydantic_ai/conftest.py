"""Real agents of Pydantic AI with real SDK clients, the provider simulator behind the official
addresses, a real store; workers that are stopped and started over it."""

from __future__ import annotations

from tests.integration.stage import ground, noting, provide, tally

__all__ = ["ground", "noting", "provide", "tally"]

# A name is how users say it. Each speaks another wire format.
MODELS = {
    "anthropic": "anthropic:claude-haiku-5-5",
    "chat": "openai-chat:gpt-5-mini",
    "responses": "openai-responses:gpt-5-mini",
}
CLAUDE = MODELS["anthropic"]
