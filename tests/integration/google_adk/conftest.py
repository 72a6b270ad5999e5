"""Real agents of Google's ADK, google-genai, the provider simulator behind the official address, a
real store; workers that are stopped and started over it."""

from __future__ import annotations

from tests.integration.stage import ground, provide, tally

__all__ = ["ground", "provide", "tally"]

GEMINI = "gemini-3-flash"
