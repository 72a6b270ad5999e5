"""Capture over the provider simulator, with the SDKs' official base URLs (rule T5) and a clock
that only moves when the gateway sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from perdure import gateway
from perdure.testing.redirect import redirect
from perdure.testing.simulator import ProviderSimulator, Reply, script
from tests.unit.gateway.time import FakeTime

WORDS = "The moon pulls at the sea, and the sea follows it twice a day."
HOSTS = ("api.anthropic.com", "api.openai.com")


async def call(agent: Callable[..., Any], *args: Any) -> Any:
    """An agent's result; a synchronous one runs in a thread, as a worker does it."""
    if asyncio.iscoroutinefunction(agent):
        return await agent(*args)
    return await asyncio.to_thread(agent, *args)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def capture(time: FakeTime) -> Iterator[gateway.Capture]:
    """Installed under httpx2 and httpx."""
    made = gateway.Capture(
        clock=time.clock,
        random=lambda: 0.5,
        sleep=time.sleep,
        sleep_blocking=time.sleep_blocking,
    )
    gateway.install(made)
    yield made
    gateway.uninstall()


@pytest.fixture
def sim() -> Iterator[ProviderSimulator]:
    """Says WORDS to whoever asks, at the official addresses."""
    brain = script([Reply(WORDS, chunk=10)])
    with ProviderSimulator(brain) as provider, redirect(dict.fromkeys(HOSTS, provider.url)):
        yield provider
