"""Tests of agents without a server or a process: real runs on a real store in a temporary folder.

    async with LocalRuns(app) as runs:
        run = await runs.start("refund", "order 7")
        await runs.until(run, "waiting")
        await runs.crash()                          # as kill -9 of the worker
        await runs.advance(timedelta(hours=23))     # the store's clock, not the wall's
        await runs.signal(run, "approved", {"by": "ada"})
        assert await runs.result(run) == "refunded order 7, approved by ada"

Nothing sleeps: waiting ends with the event that is waited for, and time passes only by ``advance``.
For model calls see ``perdure.testing.scripted`` and ``perdure.testing.simulator``.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from perdure import codec
from perdure.app import App, as_app
from perdure.codec import BLOB, decode_failure
from perdure.core.run import RunState
from perdure.errors import NotFound, RunCancelled, RunDead, RunFailed
from perdure.runtime.worker import Worker, WorkerSettings
from perdure.store import Store, make_store
from perdure.store.blobs import FileBlobs
from perdure.store.ids import new_run_id
from perdure.store.rows import LogEvent, NewRun, Run

__all__ = ["LocalRuns"]


class LocalRuns:
    """A store, and one worker at a time over it. ``patience`` is how many seconds of real time a
    wait may take before it fails with what the run was doing."""

    def __init__(self, target: Any, *, name: str = "agent", patience: float = 20.0) -> None:
        """``target``: an App, or any agent object, which is then called ``name``."""
        self.app: App = as_app(target, name=name)
        self._patience = patience
        self._folder = tempfile.TemporaryDirectory(prefix="perdure-test-")
        self.store: Store = make_store(f"sqlite:///{self._folder.name}/runs.db")
        self._blobs = FileBlobs(Path(self._folder.name) / "blobs")
        self._worker: Worker | None = None

    async def __aenter__(self) -> Self:
        await self.store.open(check=False)
        await self.store.upgrade()
        await self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._worker is not None:
            await self._worker.stop()
        await self.store.close()
        self._folder.cleanup()

    async def _begin(self) -> None:
        self._worker = Worker(self.store, self._blobs, self.app.agents, WorkerSettings())
        await self._worker.start()

    async def start(self, agent: str, value: Any = None, **more: Any) -> str:
        """Start a run; returns its id. ``more``: fields of ``perdure.store.rows.NewRun``. Raises
        NotFound for an agent the App does not hold."""
        if agent not in self.app.agents:
            raise NotFound(f"There is no agent {agent!r}.", hint=f"Agents: {list(self.app.agents)}")
        served = self.app.agents[agent]
        run = NewRun(
            new_run_id(), agent, codec.encode(value, served.input_type), queue=served.queue, **more
        )
        await self.store.enqueue([run])
        return run.id

    async def run(self, agent: str, value: Any = None, **more: Any) -> Any:
        """Start a run and wait for its result."""
        return await self.result(await self.start(agent, value, **more))

    async def result(self, run_id: str) -> Any:
        """Wait for the run's end. Raises RunFailed, RunDead or RunCancelled, from the agent's own
        exception where there was one."""
        run = await self.until(run_id)
        if run.state is RunState.SUCCEEDED:
            data = run.result or b"null"
            data = self._blobs.get(data) if data[:1] == BLOB else data
            return codec.decode(data, self.app.agents[run.agent].output_type)
        kinds = {RunState.DEAD: RunDead, RunState.CANCELLED: RunCancelled}
        error = run.error or {}
        raise kinds.get(run.state, RunFailed)(
            f"Run {run_id} {run.state}: {error.get('message', '')}"
        ) from (decode_failure(codec.encode(error)) if error else None)

    async def until(self, run_id: str, *states: str) -> Run:
        """Wait until the run is in one of ``states`` (default: a final one)."""
        return await self.when(
            run_id, lambda run: run.state.value in states if states else run.state.final
        )

    async def when(self, run_id: str, there: Callable[[Run], bool]) -> Run:
        """Wait until the run is as ``there`` says. Raises TimeoutError that tells what it did."""
        moved = asyncio.Event()
        undo = self.store.listen(f"run:{run_id}", lambda _: moved.set())
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience
        try:
            while True:
                moved.clear()
                run = await self.store.get(run_id)
                if there(run):
                    return run
                try:
                    async with asyncio.timeout_at(end):
                        await moved.wait()
                except TimeoutError:
                    log = [(e.type, e.name, e.state) for e in await self.events(run_id)]
                    raise TimeoutError(
                        f"Run {run_id} {run.state.says}, waits for {run.waits}; its log: {log}"
                    ) from None
        finally:
            undo()

    async def events(self, run_id: str) -> list[LogEvent]:
        """The run's log so far."""
        return await self.store.events(run_id, limit=100_000)

    async def signal(self, run_id: str, name: str, payload: Any = None) -> None:
        """Send a signal."""
        await self.store.signal(run_id, name, codec.encode(payload))

    async def advance(self, by: timedelta) -> None:
        """Move the store's clock and wake what is due."""
        self.store.shift_clock(by)
        await self.store.wake_due()

    async def crash(self) -> None:
        """The worker is gone as by ``kill -9``: what it executed is taken from it in the middle of
        whatever it does, it writes nothing more, and another worker goes on."""
        assert self._worker is not None
        self._worker.draining = True
        await self.store.release(self._worker.id)
        await self._worker.stop()
        await self._begin()
