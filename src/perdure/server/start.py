"""Starting a run: enqueued for any worker, or leased to the one in this process and executed in
place, so that a client that waits is answered without a queue in between.

Invariant: a run that was leased in place is always handed to the worker, whatever happens to
the request or the store meanwhile; the worker is alive, so nobody else would ever take it over.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from perdure.core.run import RunState
from perdure.errors import NotFound, StoreUnavailable
from perdure.runtime.execution import Ended
from perdure.runtime.recorder import RETRY_DELAYS
from perdure.runtime.worker import Worker
from perdure.server.service import Service
from perdure.store.rows import Enqueued, NewRun


@dataclass(frozen=True, slots=True)
class Started:
    """``task`` is the attempt, where it is executed in place. ``trace`` is the traceparent that
    this request brought; one that was ``replayed`` may have another."""

    id: str
    state: RunState
    replayed: bool
    trace: str | None
    task: asyncio.Task[Ended | None] | None = None


async def start(service: Service, run: NewRun, *, attended: bool) -> Started:
    """Enqueue ``run``; in place where it is ``attended`` (someone waits for it) and the worker
    has room. Raises IdempotencyMismatch, StoreUnavailable."""
    worker = service.worker
    if attended and worker is not None and run.delay is None and worker.reserve(run.agent):
        # Shielded: once it is leased to us, the run needs its attempt even if the client is gone.
        return await asyncio.shield(_in_place(service, worker, replace(run, lease_to=worker.id)))
    (answer,) = await service.store.enqueue([run])
    return _started(service, answer, run)


async def _in_place(service: Service, worker: Worker, run: NewRun) -> Started:
    try:
        (answer,) = await service.store.enqueue([run])
        return _started(service, answer, run)
    except StoreUnavailable:
        # It may have been written all the same.
        service.in_background(asyncio.get_running_loop().create_task(_recover(service, run)))
        raise
    finally:
        worker.unreserve()


def _started(service: Service, answer: Enqueued, run: NewRun) -> Started:
    task = None
    if answer.lease is not None and service.worker is not None:
        task = service.worker.take(answer.lease)
    return Started(answer.id, answer.state, answer.deduplicated, run.trace, task)


async def _recover(service: Service, run: NewRun) -> None:
    tries = 0
    while not service.draining:
        try:
            found = await service.store.get(run.id, payloads=False)
            if found.state is RunState.RUNNING and found.worker == run.lease_to:
                (answer,) = await service.store.enqueue([run])
                _started(service, answer, run)
            return
        except NotFound:
            return
        except StoreUnavailable:
            await asyncio.sleep(RETRY_DELAYS[min(tries, len(RETRY_DELAYS) - 1)])
            tries += 1
