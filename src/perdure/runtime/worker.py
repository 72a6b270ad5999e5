"""The worker: claims runs and executes attempts, many at once, on one event loop.

Invariants: it never holds more leases than its concurrency; after ``drain`` began it claims
nothing; it gives a lease back only through a settlement or by leaving. Its place among the living
(heartbeat, lock) is kept by the store's membership, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

from perdure import __version__
from perdure.core import crash
from perdure.errors import NotFound, StoreUnavailable
from perdure.runtime.agent import Agent
from perdure.runtime.attempt import Attempt
from perdure.runtime.closing import Ending
from perdure.runtime.execution import Ended, execute
from perdure.runtime.housekeeping import Housekeeping
from perdure.runtime.maintenance import Maintenance
from perdure.runtime.recorder import RETRY_DELAYS
from perdure.runtime.runtime import Runtime
from perdure.runtime.spending import Spending, SpendingSettings
from perdure.store.base import Membership, Store
from perdure.store.blobs import Blobs
from perdure.store.retention import Keeping
from perdure.store.rows import AgentInfo, Lease, WorkerInfo

log = logging.getLogger("perdure.worker")

STOP = timedelta(seconds=2)  # how long ``stop`` waits for what it cancelled
POLL = timedelta(seconds=15)  # claims are told; this only covers a lost wake-up


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """``concurrency``: attempts at a time. ``lease``: how long a silent worker keeps its runs.
    ``max_attempt``: an attempt parks between two effects when it is this old (C6). ``drain``: how
    long SIGTERM lets effects in flight take. ``keeping``: what the leader deletes in time.
    ``spending``: of what it tells."""

    concurrency: int = 100
    lease: timedelta = timedelta(seconds=10)
    grace: timedelta = timedelta(seconds=0.3)
    max_attempt: timedelta | None = None
    drain: timedelta = timedelta(seconds=30)
    keeping: Keeping = field(default_factory=Keeping)
    spending: SpendingSettings = field(default_factory=SpendingSettings)


class Worker:
    """One worker incarnation."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        agents: Mapping[str, Agent],
        settings: WorkerSettings | None = None,
        *,
        root: str | None = None,
    ) -> None:
        """``root``: claim only this run, and runs that it or they started."""
        self.settings = settings or WorkerSettings()
        self.id = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self.agents = dict(agents)
        self.store = store
        self.root = root
        self.runtime = Runtime(store, blobs, self.id)
        self.runtime.agents = self.agents
        self.draining = False
        self.finished_attempts = 0
        self.on_begin: Callable[[Attempt], None] | None = None  # for whoever shows attempts
        self.on_end: Callable[[Attempt, Ended | None], None] | None = None
        self._running: dict[str, Attempt] = {}
        self._tasks: dict[str, asyncio.Task[Ended | None]] = {}
        self._wake = asyncio.Event()
        self._spare = 0  # slots that claims leave to runs in place
        self._placing = 0  # slots kept for runs that are being leased in place
        self._asked = 0  # slots that a claim under way may fill
        self._more = False
        self._reserved = False
        self._doubted = False  # whether it said so
        self._membership: Membership | None = None
        self._maintenance = Maintenance(
            store, self.id, Housekeeping(store, blobs, self.settings.keeping)
        )
        self._spending = Spending(store, self.settings.spending, self.runtime.hanging.strange)
        self._loops: list[asyncio.Task[None]] = []
        self._undo: list[Callable[[], None]] = []

    @property
    def running(self) -> int:
        """Attempts under way."""
        return len(self._tasks)

    @property
    def holds(self) -> bool:
        """Whether it is joined and may start effects (see ``Membership.holds``)."""
        return self._membership is not None and self._membership.holds

    def keep_spare(self) -> None:
        """Runs will be executed in place here: leave an eighth of the slots to them, which claims
        never take, so that who waits for an answer finds room while there is a backlog."""
        self._spare = self.settings.concurrency // 8

    def reserve(self, agent: str) -> bool:
        """Keep a slot for a run of ``agent`` that is about to be leased to this worker. Where this
        is True, ``unreserve`` follows, after ``take`` if it comes to that."""
        may = (
            agent in self.agents
            and len(self._tasks) + self._placing + self._asked < self.settings.concurrency
            and not self.draining
            and not self._reserved
            and self._membership is not None
            and self.runtime.may_start.is_set()
        )
        self._placing += may
        return may

    def unreserve(self) -> None:
        """The slot that was kept is taken, or is not needed."""
        self._placing -= 1

    @property
    def queues(self) -> Sequence[str]:
        return [a.queue for a in self.agents.values() if a.policy.durability != "none"]

    async def start(self, *, claim: bool = True) -> None:
        """Join, announce the agents, begin to claim."""
        loop = asyncio.get_running_loop()
        info = WorkerInfo(
            self.id, socket.gethostname(), os.getpid(), __version__, tuple(self.queues)
        )
        self._membership = await self.store.join(
            info, lease=self.settings.lease, grace=self.settings.grace, on_change=self._holds
        )
        if self.runtime.proxy is not None:
            await self.runtime.proxy.open(self.store)
        await self.store.announce([describe(agent) for agent in self.agents.values()])
        self._undo.append(self.store.listen("work", self._told_of_work))
        self._undo.append(self.store.listen(f"worker:{self.id}", self._told_of_run))
        self._loops.append(loop.create_task(self._maintenance.run()))
        leads = self._maintenance
        self._loops.append(loop.create_task(self._spending.run(lambda: leads.leading)))
        if claim:
            self._loops.append(loop.create_task(self._claim_forever()))

    async def drain(self) -> None:
        """Stop claiming, end every attempt between two effects, leave."""
        self.draining = True
        self._wake.set()
        crash.reach(crash.Point.DURING_DRAIN)
        for attempt in list(self._running.values()):
            attempt.closing.hop(within=self.settings.drain)
        if self._tasks:
            # Unwinding and settling come on top of the time that effects in flight were given.
            await asyncio.wait(
                list(self._tasks.values()), timeout=self.settings.drain.total_seconds() + 5
            )
        await self.stop()

    async def stop(self) -> None:
        """End at once: what is leased goes back and is executed again from its journal."""
        self.draining = True
        for attempt in self._running.values():
            # So that its unwinding is not taken for the agent's own doing (F3).
            attempt.closing.close(Ending.LOST)
        for task in (*self._loops, *self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self._leave_behind()
        await self.runtime.end()
        for undo in self._undo:
            undo()
        self._undo.clear()
        if self._membership is not None:
            await self._membership.leave()
            self._membership = None

    async def _leave_behind(self) -> None:
        """Wait for the attempts, but not for code that cannot be ended from outside: a thread, or
        a task that swallows every cancellation. Their boundaries refuse them from now on."""
        for left in (False, True):
            for run_id, task in self._tasks.items():
                self._running[run_id].left = left
                task.cancel()
                if left:
                    log.warning(
                        "run %s: its code does not end; it is left behind",
                        run_id,
                        extra={"run_id": run_id},
                    )
            if self._tasks:
                await asyncio.wait(list(self._tasks.values()), timeout=STOP.total_seconds())
        for run_id, task in self._tasks.items():
            self._running[run_id].over()
            # Else the event loop would wait for it when the process ends.
            asyncio.tasks._unregister_task(task)

    def take(self, lease: Lease) -> asyncio.Task[Ended | None]:
        """Execute a run that was leased to this worker when it was enqueued (in place)."""
        return self._begin(lease)

    # -- claiming -----------------------------------------------------------------------------

    async def _claim_forever(self) -> None:
        trouble = 0
        while not self.draining:
            self._wake.clear()
            try:
                claimed = await self._claim()
            except StoreUnavailable as error:
                log.warning("The store does not answer; claiming waits for it: %s", error)
                await asyncio.sleep(RETRY_DELAYS[min(trouble, len(RETRY_DELAYS) - 1)])
                trouble += 1
                continue
            trouble = 0
            if not claimed:
                try:
                    async with asyncio.timeout(POLL.total_seconds()):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    async def _claim(self) -> int:
        """Claim what there is room for. Returns how many."""
        free = self.settings.concurrency - self._spare - self._placing - len(self._tasks)
        # A few at a time cost as much as many: wait until a quarter is free.
        if free < max(self.settings.concurrency // 4, 1) or (self._reserved and self._tasks):
            self._more = True
            return 0
        if not self.runtime.may_start.is_set():
            return 0
        self._asked = free
        try:
            idle = not self._tasks and not self._placing
            claimed = await self.store.claim(self.id, self.queues, free, idle=idle, root=self.root)
        finally:
            self._asked = 0
        self._reserved = claimed.reserved
        self._more = len(claimed.leases) == free or claimed.reserved
        for lease in claimed.leases:
            self._begin(lease)
        return len(claimed.leases)

    def _begin(self, lease: Lease) -> asyncio.Task[Ended | None]:
        attempt = Attempt(lease, self.agents[lease.agent], self.runtime)
        loop = asyncio.get_running_loop()
        task = loop.create_task(execute(attempt), name=f"run {lease.run_id}")
        self._running[lease.run_id] = attempt
        self._tasks[lease.run_id] = task
        if self.on_begin is not None:
            self.on_begin(attempt)
        timer: asyncio.TimerHandle | None = None
        if self.settings.max_attempt is not None:
            timer = loop.call_later(self.settings.max_attempt.total_seconds(), attempt.closing.hop)

        def ended(task: asyncio.Task[Ended | None]) -> None:
            if timer is not None:
                timer.cancel()
            if self._tasks.get(lease.run_id) is task:
                # The run's next attempt may have begun here before this task's end was told.
                del self._tasks[lease.run_id], self._running[lease.run_id]
            self.finished_attempts += 1
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error(
                    "run %s: the attempt broke",
                    lease.run_id,
                    exc_info=error,
                    extra={"run_id": lease.run_id},
                )
            elif not task.cancelled() and self.on_end is not None:
                self.on_end(attempt, task.result())
            if self._more or not self._tasks:
                self._wake.set()

        task.add_done_callback(ended)
        return task

    # -- being told ---------------------------------------------------------------------------

    def _told_of_work(self, queue: str) -> None:
        if queue == "*" or queue in self.agents:
            self._wake.set()

    def _told_of_run(self, run_id: str) -> None:
        attempts = (
            list(self._running.values())
            if run_id == "*"
            else [a for a in (self._running.get(run_id),) if a is not None]
        )
        for attempt in attempts:
            task = asyncio.get_running_loop().create_task(self._look_after(attempt))
            self._loops.append(task)
            task.add_done_callback(self._loops.remove)

    async def _look_after(self, attempt: Attempt) -> None:
        """A cancel or a signal came for a run that is being executed."""
        try:
            run = await self.store.get(attempt.run_id, payloads=False)
            if run.cancel_requested:
                attempt.closing.cancel()
            await attempt.waiting.told()
        except StoreUnavailable:
            pass  # after reconnecting everyone is told again ("*")
        except NotFound:
            pass  # it is over and forgotten

    def _holds(self, holds: bool) -> None:
        if holds:
            if self._doubted:
                self._doubted = False
                log.warning("The worker's lease and lock are sure again: effects start.")
            self.runtime.may_start.set()
            self._wake.set()
        else:
            self._doubted = True
            log.warning("This worker's lease or lock is in doubt: it starts no effects for now.")
            self.runtime.may_start.clear()


def describe(agent: Agent) -> AgentInfo:
    return AgentInfo(
        name=agent.name,
        queue=agent.queue,
        framework=agent.framework,
        description=agent.description,
        input_schema=agent.schema() if agent.schema is not None else None,
        durability=agent.policy.durability,
        intake=agent.policy.intake,
    )
