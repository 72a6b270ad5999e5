"""What the tests of the framework adapters share: a store with workers over it, notes of what was
really done, and the provider simulator behind official addresses."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import orjson
import pytest

from perdure import gateway
from perdure.core.record import Entry, Kind
from perdure.testing.redirect import redirect
from perdure.testing.simulator import Brain, Call, ProviderSimulator, Reply, script
from tests.running import Ground, ground

__all__ = [
    "Provide", "Tally", "answer", "emitted", "ground", "noting", "provide", "tally", "tool_entries",
]  # fmt: skip

HOSTS = ("api.anthropic.com", "api.openai.com", "generativelanguage.googleapis.com")
Provide = Callable[..., ProviderSimulator]


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
async def tally(ground: Ground) -> AsyncIterator[Tally]:
    noted = Tally()
    try:
        yield noted
    finally:
        noted.release_all()


@pytest.fixture
def provide(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provide]:
    """``provide(reply, reply, ...)``: a provider that answers by turn, with capture installed."""
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.setenv(name, "any")
    with ExitStack() as stack:
        gateway.install()
        stack.callback(gateway.uninstall)

        def start(*replies: Reply | str | Callable[..., Any]) -> ProviderSimulator:
            brain = replies[0] if callable(replies[0]) else script(replies)  # type: ignore[arg-type]
            provider = stack.enter_context(ProviderSimulator(brain))
            stack.enter_context(redirect(dict.fromkeys(HOSTS, provider.url)))
            return provider

        yield start


def noting(calls: list[Call], *replies: Reply | str) -> Brain:
    """Answers by turn, and notes in ``calls`` what it is asked."""
    scripted = script(replies)

    def brain(call: Call) -> Any:
        calls.append(call)
        return scripted(call)

    return brain


async def emitted(ground: Ground, run: str, name: str) -> list[dict[str, Any]]:
    """The data of the run's events of this name."""
    return [
        orjson.loads(event.value or b"")
        for event in await ground.events(run)
        if event.kind == Kind.EMIT and event.name == name
    ]


async def answer(ground: Ground, run: str, value: Any, name: str = "resume") -> None:
    """Send a signal, by default to whichever question waits."""
    await ground.store.signal(run, name, orjson.dumps(value))


async def tool_entries(ground: Ground, run: str) -> list[Entry]:
    return [e for e in await ground.store.journal(run) if e.kind == Kind.TOOL]
