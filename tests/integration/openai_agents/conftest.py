"""Real agents of the OpenAI Agents SDK and its own OpenAI client, the provider simulator behind the
official address, a real store; workers that are stopped and started over it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import agents
import pytest

from perdure.core.retry import RetryPolicy
from perdure.frameworks.openai_agents import uninstall
from tests.integration.stage import Provide, Tally, ground, noting, provide, tally

__all__ = ["SOON", "Provide", "Tally", "ground", "noting", "provide", "quiet", "tally"]

SOON = RetryPolicy(base=timedelta(milliseconds=10))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No traces, but where a test is about them; and no patch left behind."""
    agents.set_tracing_disabled(True)
    try:
        yield
    finally:
        agents.set_tracing_disabled(False)
        uninstall()
