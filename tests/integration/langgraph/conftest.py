"""Real LangGraph and LangChain agents, real SDK clients, the provider simulator behind their
official addresses, a real store; workers that are stopped and started over it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel

from perdure import gateway
from perdure.testing.redirect import redirect
from perdure.testing.simulator import ProviderSimulator, Reply, script
from tests.running import Ground

HOSTS = ("api.anthropic.com", "api.openai.com")
Provide = Callable[..., ProviderSimulator]


def claude() -> BaseChatModel:
    """Made by its SDK, as users make it."""
    return init_chat_model("anthropic:claude-haiku-5-5")


class Tally:
    """What was really done, and where to stand still in the middle of it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._held: dict[str, threading.Event] = {}
        self._reached: dict[str, asyncio.Event] = {}

    def count(self, what: str) -> int:
        return self.done.count(what)

    def hold(self, what: str) -> None:
        """From now on ``what`` stands still once it is noted."""
        self._held[what] = threading.Event()
        self._reached[what] = asyncio.Event()

    def release(self, what: str) -> None:
        self._held.pop(what).set()

    async def reached(self, what: str) -> None:
        async with asyncio.timeout(10):
            await self._reached[what].wait()

    async def note(self, what: str) -> None:
        """Called in the middle of the work ``what``."""
        self.done.append(what)
        if (held := self._held.get(what)) is not None:
            self._reached[what].set()
            await asyncio.to_thread(held.wait, 30)

    def note_sync(self, what: str) -> None:
        self.done.append(what)
        if (held := self._held.get(what)) is not None:
            self._loop.call_soon_threadsafe(self._reached[what].set)
            held.wait(30)

    def release_all(self) -> None:
        for held in self._held.values():
            held.set()


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    place = Ground(tmp_path)
    await place.open()
    try:
        yield place
    finally:
        await place.close()


@pytest.fixture
async def tally(ground: Ground) -> AsyncIterator[Tally]:
    noted = Tally()
    try:
        yield noted
    finally:
        noted.release_all()


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
