"""The side with Perdure: two workers on one SQLite file, the same agent, unmodified."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

import orjson

from perdure import codec
from perdure.core.record import EntryState, Kind, RecordType
from perdure.core.run import RunState
from perdure.demo.side import Attempt, Scene, Side
from perdure.store import Store, make_store
from perdure.store.ids import new_run_id
from perdure.store.rows import LogEvent, NewRun

START_S = 60.0  # importing LangChain on a slow machine
LOOK_S = 0.05
_SETTINGS = """\
[store]
url = "sqlite:///{store}"

# The agent's client is told to call the demo's meter, which Perdure has to know as a provider.
[gateway.providers]
"{host}" = "anthropic"
"""


class DurableSide(Side):
    """Two workers; the one that holds the run is killed."""

    title = "perdure worker, twice"
    name = "perdure"
    waiting = "two workers import LangGraph ..."
    again = "the other worker takes over ..."

    def __init__(
        self, scene: Scene, say: Callable[[str, str], None], changed: Callable[[], None]
    ) -> None:
        super().__init__(scene, say, changed)
        self.run_id = new_run_id()
        self.log: list[LogEvent] = []
        self._store: Store = make_store(f"sqlite:///{scene.folder / 'perdure.db'}")

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "PERDURE_CONFIG": str(self.scene.folder / "perdure.toml"),
        }

    async def play(self) -> None:
        settings = _SETTINGS.format(store=self.scene.folder / "perdure.db", host=self.meter.host)
        (self.scene.folder / "perdure.toml").write_text(settings, "utf-8")
        await self._store.open(check=False)
        await self._store.upgrade()
        for _ in range(2):
            await self.start(sys.executable, "-m", "perdure.cli.main", "worker", "agent.py:agent")
        await self._enqueue(await self._joined())
        await self._finished()

    async def kill(self) -> None:
        """The worker that holds the run, as the store knows it."""
        attempt = self.attempts[-1]
        run = await self._store.get(self.run_id, payloads=False)
        pid = next(int(str(w["pid"])) for w in await self._store.workers() if w["id"] == run.worker)
        if pid not in {child.pid for child in self.children}:
            raise self.failed(f"the run is held by pid {pid}, which is none of its workers.")
        attempt.pid = pid
        self.strike(pid)
        other = next(child.pid for child in self.children if child.pid != pid)
        had = sum(call.delivered for call in self.meter.calls)
        self.attempts.append(Attempt("worker 2", other, len(self.meter.calls), replayed=had))

    async def close(self) -> None:
        await super().close()
        await self._store.close()

    @property
    def resumed_after(self) -> float | None:
        """Seconds from the kill until the other worker sends its first call."""
        calls = self.calls_of(self.attempts[-1])
        if self.killed_at is None or not calls:
            return None
        return calls[0].started - self.killed_at

    def journaled(self) -> list[str]:
        """The digests of the model calls that the journal holds, one for each entry."""
        done = {
            event.key: event.digest.hex()
            for event in self.log
            if event.type == RecordType.ENTRY
            and event.kind == Kind.MODEL
            and event.state == EntryState.DONE
            and event.digest is not None
        }
        return list(done.values())

    async def _joined(self) -> str:
        """Wait for both workers; the name under which they announce the agent."""
        until = time.monotonic() + START_S
        while len(await self._store.workers()) < len(self.children):
            if any(child.returncode is not None for child in self.children):
                raise self.failed("a worker ended before it had work.")
            if time.monotonic() > until:
                raise self.failed(f"the workers did not start within {START_S:.0f} s.")
            await asyncio.sleep(LOOK_S)
        (agent,) = await self._store.agents()
        return agent.name

    async def _enqueue(self, agent: str) -> None:
        self.attempts.append(Attempt("worker 1", self.children[0].pid, 0))
        pids = " and ".join(str(child.pid) for child in self.children)
        self.say(f"two workers wait for work (pids {pids}); the run is enqueued")
        run = NewRun(self.run_id, agent, codec.encode({"question": ""}), queue=agent)
        await self._store.enqueue([run])

    async def _finished(self) -> None:
        """Wait for the run's end and read its journal."""
        while True:
            run = await self._store.get(self.run_id)
            if run.state.final:
                break
            alive = [child for child in self.children if child.returncode is None]
            if not alive:
                raise self.failed("no worker is left.")
            if run.state == RunState.WAITING and not run.wake_at:
                raise self.failed(f"the run waits for someone: {run.waits}")
            await asyncio.sleep(LOOK_S)
        self.ended = time.monotonic()
        while rows := await self._store.events(self.run_id, self.log[-1].seq if self.log else 0):
            self.log += rows
        if run.state != RunState.SUCCEEDED:
            raise self.failed(f"the run {run.state.says}: {run.error}")
        result = orjson.loads(run.result or b"{}")
        self.report = str(result.get("report", "")).strip()
        self.say("done")
