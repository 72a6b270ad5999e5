"""What a worker does with many runs at once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from perdure.runtime import worker as module
from perdure.runtime.attempt import Attempt
from perdure.store.ids import new_run_id
from perdure.store.rows import NewRun
from tests.unit.runtime.harness import House, turns_until


def runs(count: int) -> list[NewRun]:
    return [NewRun(new_run_id(), "agent", b"null", queue="agent") for _ in range(count)]


async def test_others_have_their_turns_between_attempts_that_begin(house: House) -> None:
    """A request that is about to be written does not wait until forty agents have begun."""
    turn, begun = 0, Counter[int]()

    async def agent() -> None: ...

    async def turning() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    house.serve(agent)
    worker = await house.worker(concurrency=20)
    worker.on_begin = lambda _: begun.update([turn])
    others = asyncio.create_task(turning())
    wanted = runs(12)
    await house.store.enqueue(wanted)
    for run in wanted:
        await house.result(run.id)
    others.cancel()
    assert begun.total() == 12
    assert max(begun.values()) == module.AT_ONCE


async def test_what_has_not_begun_when_a_drain_begins_goes_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 1)
    go = asyncio.Event()
    begun: list[str] = []

    async def agent() -> None:
        await go.wait()

    house.serve(agent)
    worker = await house.worker(concurrency=20)

    def note(attempt: Attempt) -> None:
        begun.append(attempt.run_id)
        worker.draining = True

    worker.on_begin = note
    wanted = runs(5)
    await house.store.enqueue(wanted)
    await turns_until(lambda: begun)
    await house.stop(worker)
    assert len(begun) == 1
    assert {(await house.store.get(run.id)).state for run in wanted} == {"queued"}
