"""Agents whose model calls go by limits, budgets and routes, to a simulated provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure.app import App
from perdure.assembly import capturing
from perdure.config import Config, load
from perdure.runtime.worker import Worker, WorkerSettings
from perdure.testing.redirect import redirect
from perdure.testing.simulator import ProviderSimulator
from tests.integration.stage import HOSTS, ground, tally
from tests.running import Ground

__all__ = ["Begin", "begin", "ground", "settings", "tally"]

Begin = Callable[..., Awaitable[Any]]


@pytest.fixture
def settings(tmp_path: Path) -> Callable[[str], Config]:
    """The settings that a perdure.toml of this text makes."""

    def read(text: str) -> Config:
        path = tmp_path / "perdure.toml"
        path.write_text(text)
        return load(path, environ={})

    return read


@pytest.fixture
async def begin(
    ground: Ground, settings: Callable[[str], Config], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Begin]:
    """``await begin(app, sim, toml)``: a worker over the ground, with capture and the gate in it.
    What it returns ends both; a test that does not is ended."""
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "sk-any")
    async with AsyncExitStack() as whole:

        async def start(app: App, sim: ProviderSimulator, text: str = "", **worker: Any) -> Any:
            config = settings(text)
            stack = await whole.enter_async_context(AsyncExitStack())
            stack.enter_context(redirect(dict.fromkeys(HOSTS, sim.url)))
            chosen = WorkerSettings(lease=timedelta(seconds=5), **worker)
            begun = Worker(ground.store, ground.blobs, app.agents, chosen)
            await stack.enter_async_context(capturing(config, begun.runtime))
            await begun.start()
            ground.workers.append(begun)

            async def end() -> None:
                ground.workers.remove(begun)
                await begun.stop()
                await stack.aclose()

            stack.push_async_callback(_ended, ground, begun)
            return end

        yield start


async def _ended(ground: Ground, worker: Worker) -> None:
    if worker in ground.workers:
        ground.workers.remove(worker)
        await worker.stop()
