"""A house for runs: a real SQLite store, blobs, agents, and workers that come, die and go.

Nothing here stands in for anything: attempts are the product's own. A crash is a worker whose runs
are taken from it as after the death of its process, and time is the store's clock, moved by hand.
On leaving, the house complains of whatever asyncio had to complain of and of tasks left behind.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

import orjson

from perdure import codec
from perdure.app import App
from perdure.core.record import Entry, RecordType
from perdure.core.retry import RetryPolicy
from perdure.core.run import RunState
from perdure.runtime.attempt import Attempt
from perdure.runtime.handle import AgentHandle
from perdure.runtime.worker import Worker, WorkerSettings
from perdure.store import Store, make_store
from perdure.store.blobs import FileBlobs
from perdure.store.rows import Lease, LogEvent, NewRun, Run, WorkerInfo

PATIENCE = 20.0  # seconds until a test that waits for something is stuck
AT_ONCE = RetryPolicy(attempts=3, base=timedelta(0), cap=timedelta(0))  # without back-off


class House:
    """See the module."""

    def __init__(self, folder: Path, store: Store | None = None) -> None:
        self.store = store or make_store(f"sqlite:///{folder}/runs.db")
        self.blobs = FileBlobs(folder / "blobs")
        self.app = App()
        self.workers: list[Worker] = []
        self.did: Counter[str] = Counter()  # what agent code performed, counted by itself
        self.complaints: list[dict[str, Any]] = []

    async def __aenter__(self) -> House:
        await self.store.open(check=False)
        await self.store.upgrade()
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self.complaints.append(context)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in list(self.workers):
            await self.stop(worker)
        await self.store.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if error is None:
            # Cancelled ones may need a turn to end.
            if left:
                _, left = await asyncio.wait(left, timeout=0.5)
            assert not left, f"tasks left behind: {left}"
            assert not self.complaints, self.complaints

    # -- agents and workers -------------------------------------------------------------------

    def serve(self, agent: Any, *, name: str | None = None, **policy: Any) -> AgentHandle:
        """Add an agent. Failed attempts are tried again at once."""
        policy.setdefault("retry", AT_ONCE)
        return self.app.add(agent, name=name, **policy)

    async def worker(self, *, claim: bool = True, **settings: Any) -> Worker:
        """Start a worker for the agents there are."""
        worker = Worker(self.store, self.blobs, self.app.agents, WorkerSettings(**settings))
        self.workers.append(worker)
        await worker.start(claim=claim)
        return worker

    async def stop(self, worker: Worker) -> None:
        await asyncio.wait_for(worker.stop(), PATIENCE)
        self.workers.remove(worker)

    async def drain(self, worker: Worker) -> None:
        await asyncio.wait_for(worker.drain(), PATIENCE)
        self.workers.remove(worker)

    async def crash(self, worker: Worker) -> None:
        """As if its process was killed: first its runs are taken, so that it writes nothing more,
        and then what is left of it ends."""
        worker.draining = True
        await self.store.release(worker.id)
        await self.stop(worker)

    async def next_life(self, worker: Worker, **settings: Any) -> Worker:
        """Crash, and go on with another worker."""
        await self.crash(worker)
        return await self.worker(**settings)

    async def lease(self, worker: Worker) -> Lease:
        """Claim one run for a worker that does not claim by itself."""
        claimed = await self.store.claim(worker.id, worker.queues, 1, idle=True)
        return claimed.leases[0]

    async def steal(self, run_id: str) -> None:
        """Take the run from whoever has it: its epoch is old from now on."""
        await self.store.release(str((await self.store.get(run_id)).worker))
        thief = WorkerInfo(f"thief-{uuid4()}", "elsewhere", 1, "0")
        await self.store.join(thief, lease=timedelta(minutes=1))  # it leaves with the store
        run = await self.store.get(run_id)
        claimed = await self.store.claim(thief.id, [run.queue], 1, idle=True)
        assert [lease.run_id for lease in claimed.leases] == [run_id]

    def attempt(self, run_id: str) -> Attempt:
        """The attempt under way."""
        for worker in self.workers:
            if run_id in worker._running:
                return worker._running[run_id]
        raise AssertionError(f"no worker executes {run_id}")

    async def begun(self, run_id: str) -> Attempt:
        """The attempt, once a worker has claimed the run."""
        await turns_until(lambda: any(run_id in worker._running for worker in self.workers))
        return self.attempt(run_id)

    # -- runs ---------------------------------------------------------------------------------

    async def submit(self, agent: str, value: Any = None, **more: Any) -> str:
        run_id = str(uuid4())
        served = self.app.agents[agent]
        new = NewRun(run_id, agent, codec.encode(value), queue=served.queue, **more)
        await self.store.enqueue([new])
        return run_id

    async def until(self, run_id: str, *states: str) -> Run:
        """Wait until the run is in one of the states (default: final)."""

        def there(run: Run) -> bool:
            return run.state.value in states if states else run.state.final

        return await self.when(run_id, there)

    async def when(self, run_id: str, there: Callable[[Run], bool]) -> Run:
        moved = asyncio.Event()
        undo = self.store.listen(f"run:{run_id}", lambda _: moved.set())
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        try:
            while True:
                moved.clear()
                run = await self.store.get(run_id)
                if there(run):
                    return run
                try:
                    await asyncio.wait_for(moved.wait(), max(until - loop.time(), 0))
                except TimeoutError:
                    log = [(e.type, e.name, e.state) for e in await self.store.events(run_id)]
                    raise AssertionError(f"stuck: {run.state} {run.waits} {log}") from None
        finally:
            undo()

    async def until_entries(self, run_id: str, count: int, state: str = "done") -> None:
        """Wait until so many effects are recorded."""
        moved = asyncio.Event()
        undo = self.store.listen(f"run:{run_id}", lambda _: moved.set())
        try:
            async with asyncio.timeout(PATIENCE):
                while [e.state for e in await self.entries(run_id)].count(state) < count:
                    await moved.wait()
                    moved.clear()
        finally:
            undo()

    async def result(self, run_id: str) -> Any:
        """Of a run that succeeds."""
        run = await self.until(run_id)
        assert run.state is RunState.SUCCEEDED, (run.state, run.error)
        assert run.result is not None
        data = run.result
        if data[:1] == codec.BLOB:
            data = self.blobs.get(data)
        return codec.decode(data)

    async def run(self, agent: str, value: Any = None, **more: Any) -> Any:
        """Submit, and wait for the result."""
        return await self.result(await self.submit(agent, value, **more))

    async def pass_time(self, by: timedelta) -> int:
        """Move the store's clock and do what is due; returns how many runs woke."""
        self.store.shift_clock(by)
        return (await self.store.wake_due()).count

    async def parked(self, run_id: str, *reasons: str) -> Run:
        """Wait until the run waits for just these reasons."""
        run = await self.when(
            run_id, lambda r: r.state.final or (r.state == "waiting" and _reasons(r) != ["retry"])
        )
        assert (run.state.value, _reasons(run)) == ("waiting", sorted(reasons)), (run, run.error)
        return run

    async def signal(self, run_id: str, name: str, value: Any = None) -> int:
        return await self.store.signal(run_id, name, codec.encode(value))

    # -- what was written ---------------------------------------------------------------------

    async def entries(self, run_id: str) -> list[Entry]:
        return await self.store.journal(run_id)

    async def states(self, run_id: str) -> list[tuple[str, str]]:
        """(name, state) of every entry row, in order, before folding."""
        return [
            (e.name or "", e.state or "")
            for e in await self.store.events(run_id, limit=10_000)
            if e.type == RecordType.ENTRY
        ]

    async def log(self, run_id: str, *types: str) -> list[LogEvent]:
        events = await self.store.events(run_id, limit=10_000)
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        return [e for e in events if not types or e.type in types]

    async def warnings(self, run_id: str) -> list[str]:
        return [e.name or "" for e in await self.log(run_id, RecordType.WARNING)]

    async def statuses(self, run_id: str) -> list[str]:
        return [e.name or "" for e in await self.log(run_id, RecordType.STATUS)]


async def turns_until(there: Callable[[], Any]) -> None:
    """Let the event loop turn until something is so that nobody tells of."""
    async with asyncio.timeout(PATIENCE):
        while not there():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def turns(count: int = 20) -> None:
    """Let the event loop turn, for whatever is about to happen to happen."""
    for _ in range(count):
        await asyncio.sleep(0)


def _reasons(run: Run) -> list[str]:
    return sorted(wait["reason"] for wait in run.waits)


def payload(event: LogEvent) -> Any:
    """What an event says."""
    return orjson.loads(event.value or b"null")


def texts(events: Sequence[LogEvent]) -> list[Any]:
    """All pieces of delta events, in order."""
    return [piece for event in events for piece in payload(event)]


@asynccontextmanager
async def opened(folder: Path, store: Store | None = None) -> AsyncIterator[House]:
    async with House(folder, store) as house:
        yield house
