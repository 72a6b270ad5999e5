"""Real LangGraph and LangChain agents, real SDK clients, the provider simulator behind their official
addresses, a real store; workers that are stopped and started over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from perdure import gateway
from perdure.testing.redirect import redirect
from perdure.testing.simulator import ProviderSimulator, Reply, script
from tests.running import Ground

HOSTS = ("api.anthropic.com", "api.openai.com")
Provide = Callable[..., ProviderSimulator]


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    place = Ground(tmp_path)
    await place.open()
    try:
        yield place
    finally:
        await place.close()


@pytest.fixture
def provide(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provide]:
    """``provide(reply, reply, ...)``: a provider that answers by turn, with capture installed."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "any")
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    with ExitStack() as stack:
        stack.enter_context(_captured())

        def start(*replies: Reply | str) -> ProviderSimulator:
            provider = stack.enter_context(ProviderSimulator(script(replies)))
            stack.enter_context(redirect(dict.fromkeys(HOSTS, provider.url)))
            return provider

        yield start


@contextmanager
def _captured() -> Iterator[None]:
    gateway.install()
    try:
        yield
    finally:
        gateway.uninstall()
