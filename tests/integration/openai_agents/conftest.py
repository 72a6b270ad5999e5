"""Real agents of the OpenAI Agents SDK and its own OpenAI client, the provider simulator behind the
official address, a real store; workers that are stopped and started over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import agents
import pytest

from perdure.core.retry import RetryPolicy
from perdure.frameworks.openai_agents import uninstall
from perdure.testing.simulator import Brain, Call, Reply, script
from tests.integration.stage import Provide, Tally, ground, provide, tally

__all__ = ["SOON", "Provide", "Tally", "ground", "listening", "provide", "quiet", "tally"]

SOON = RetryPolicy(base=timedelta(milliseconds=10))


def listening(calls: list[Call], *replies: Reply | str) -> Callable[[Call], Reply]:
    """A brain with a script that keeps what it was asked in ``calls``."""
    brain: Brain = script(replies)

    def answer(call: Call) -> Reply:
        calls.append(call)
        found = brain(call)
        assert isinstance(found, Reply)
        return found

    return answer


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No traces, but where a test is about them; and no patch left behind."""
    agents.set_tracing_disabled(True)
    try:
        yield
    finally:
        agents.set_tracing_disabled(False)
        uninstall()
