"""A user's cancel is a request to a running run, and final at once for any other (C4)."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

import perdure
from perdure import step, sync, tool
from perdure.errors import Conflict
from tests.unit.runtime.harness import House, turns_until

HOUR = timedelta(hours=1)


async def test_a_queued_run_is_cancelled_at_once(house: House) -> None:
    """C4: nobody executes it."""

    async def agent() -> None:
        house.did["agent"] += 1

    house.serve(agent)
    run_id = await house.submit("agent")
    assert (await house.store.cancel(run_id)).state.value == "cancelled"
    await house.worker()
    assert (await house.until(run_id)).state.value == "cancelled"
    assert house.did == {}


async def test_a_waiting_run_is_cancelled_at_once(house: House) -> None:
    """C4: open intents stay listed as uncertain."""

    @tool(effect="once")
    async def pay() -> None:
        raise ConnectionError("who knows")

    async def agent() -> None:
        await pay()

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    await house.parked(run_id, "uncertain")
    assert (await house.store.cancel(run_id)).state.value == "cancelled"
    assert [e.state for e in await house.entries(run_id)] == ["intent"]


async def test_a_running_run_may_clean_up(house: House) -> None:
    """C4: cleanup effects run within the grace period."""
    started = asyncio.Event()

    @step
    async def slow() -> None:
        started.set()
        await asyncio.Event().wait()

    @step
    async def cleanup(n: int) -> None:
        await perdure.sleep(0)
        house.did[f"cleanup {n}"] += 1

    async def agent() -> None:
        try:
            await slow()
        finally:
            await cleanup(1)
            await cleanup(2)

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    await started.wait()
    asked = await house.store.cancel(run_id)
    assert asked.state.value == "running"
    run = await house.until(run_id)
    assert run.state.value == "cancelled"
    assert run.error is not None
    assert run.error["code"] == "run_cancelled"
    assert house.did == {"cleanup 1": 1, "cleanup 2": 1}
    assert run.attempts == 0


async def test_a_waiting_attempt_may_clean_up_too(house: House) -> None:
    """C4: while it is warm."""
    started = asyncio.Event()

    @step
    async def cleanup() -> None:
        house.did["cleanup"] += 1

    async def agent() -> None:
        try:
            started.set()
            await perdure.wait_for("never")
        finally:
            await cleanup()

    house.serve(agent, park_after=60)
    await house.worker()
    run_id = await house.submit("agent")
    await started.wait()
    await house.store.cancel(run_id)
    assert (await house.until(run_id)).state.value == "cancelled"
    assert house.did == {"cleanup": 1}


async def test_the_grace_ends(house: House) -> None:
    """C4: cleanup that does not end is cut."""
    started = asyncio.Event()

    @step
    async def forever() -> None:
        house.did["forever"] += 1
        started.set()
        await asyncio.Event().wait()

    async def agent() -> None:
        try:
            await forever()
        finally:
            await forever()

    house.serve(agent, cancel_grace=0.05)
    await house.worker()
    run_id = await house.submit("agent")
    await started.wait()
    await house.store.cancel(run_id)
    assert (await house.until(run_id)).state.value == "cancelled"
    assert house.did == {"forever": 2}


@pytest.mark.parametrize("then", ["returns", "raises", "works on"])
async def test_a_cancel_that_is_swallowed(house: House, then: str) -> None:
    """C4: it is a request: an agent that ends with a result within the grace has one; an error
    is the cancel's; one that works on is cut."""
    started = asyncio.Event()

    @step
    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    async def agent() -> str:
        try:
            await work()
        except asyncio.CancelledError:
            if then == "returns":
                return "at my own risk"
            if then == "raises":
                raise ConnectionError("made of it") from None
        await work()
        return "never"

    house.serve(agent, cancel_grace=0.05)
    await house.worker()
    run_id = await house.submit("agent")
    await started.wait()
    await house.store.cancel(run_id)
    run = await house.until(run_id)
    assert run.state.value == ("succeeded" if then == "returns" else "cancelled")


async def test_a_sync_agent_is_told_at_its_next_boundary_and_may_clean_up(house: House) -> None:
    """C4, C3: a thread cannot be interrupted; its cleanup effects run."""
    started, go_on = threading.Event(), threading.Event()

    @step
    def work(name: str) -> None:
        house.did[name] += 1

    @step(retries=2)
    def bounded(name: str) -> None:
        house.did[name] += 1

    def agent() -> None:
        try:
            started.set()
            go_on.wait(10)
            work("next")
        finally:
            work("cleanup")
            bounded("cleanup too")
            sync.sleep(0.001)

    def agent_with_retries() -> None:
        try:
            started.set()
            go_on.wait(10)
            bounded("next")
        finally:
            bounded("cleanup")
            work("cleanup too")

    house.serve(agent)
    house.serve(agent_with_retries)
    await house.worker()
    for name in ("agent", "agent_with_retries"):
        house.did.clear()
        started.clear()
        go_on.clear()
        run_id = await house.submit(name)
        assert await asyncio.to_thread(started.wait, 10)
        await house.store.cancel(run_id)
        attempt = house.attempt(run_id)
        await turns_until(lambda attempt=attempt: attempt.closing.cancelling)  # type: ignore[misc]
        go_on.set()
        assert (await house.until(run_id)).state.value == "cancelled"
        assert house.did == {"cleanup": 1, "cleanup too": 1}, name


async def test_a_sync_agent_that_waits_is_told_there(house: House) -> None:
    """C4: once; what it does then is cleanup."""
    started = threading.Event()

    @step
    def cleanup() -> None:
        house.did["cleanup"] += 1

    def agent() -> None:
        try:
            started.set()
            sync.wait_for("never")
        finally:
            cleanup()

    house.serve(agent, park_after=60)
    await house.worker()
    run_id = await house.submit("agent")
    assert await asyncio.to_thread(started.wait, 10)
    await turns_until(lambda: house.attempt(run_id).waiting.waiters)
    await house.store.cancel(run_id)
    assert (await house.until(run_id)).state.value == "cancelled"
    assert house.did == {"cleanup": 1}


async def test_the_first_commit_wins(house: House) -> None:
    """C4: a run that is final cannot be cancelled; cancelling twice changes nothing."""

    async def agent() -> int:
        return 1

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    await house.result(run_id)
    with pytest.raises(Conflict):
        await house.store.cancel(run_id)


async def test_a_cancel_while_parking_is_final(house: House) -> None:
    """C7: a park becomes queued when a cancel is unread, and the next claim ends it."""
    started, go_on = asyncio.Event(), asyncio.Event()

    @step
    async def slow() -> None:
        started.set()
        await go_on.wait()

    @step
    async def after() -> None:
        house.did["after"] += 1

    async def agent() -> None:
        await slow()
        await after()

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    await started.wait()
    attempt = house.attempt(run_id)
    attempt.closing.hop()
    await house.store.cancel(run_id)
    await turns_until(lambda: attempt.closing.cancelling)
    go_on.set()
    assert (await house.until(run_id)).state.value == "cancelled"
    assert house.did == {}


async def test_a_cancel_that_comes_before_the_agent_began(house: House) -> None:
    """C4: its code is not run at all."""

    async def agent() -> None:
        house.did["agent"] += 1

    house.serve(agent)
    worker = await house.worker(claim=False)
    run_id = await house.submit("agent")
    lease = await house.lease(worker)
    task = worker.take(lease)
    house.attempt(run_id).closing.cancel()
    await task
    assert (await house.until(run_id)).state.value == "cancelled"
    assert house.did == {}


async def test_a_close_that_comes_before_the_agent_began(house: House) -> None:
    """C2: closing must not pass by an agent that is only about to start."""
    from perdure.runtime.closing import Ending

    async def agent() -> Any:
        house.did["agent"] += 1
        await perdure.sleep(0)

    house.serve(agent)
    worker = await house.worker(claim=False)
    run_id = await house.submit("agent")
    task = worker.take(await house.lease(worker))
    house.attempt(run_id).closing.close(Ending.LOST)
    assert await task is None
    assert house.did == {}


async def test_cancelling_does_not_wait_for_a_park_that_hangs(house: House) -> None:
    """C4: the grace bounds what is in flight, also when the attempt was closing already."""
    started = asyncio.Event()

    @step
    async def hangs() -> None:
        started.set()
        await asyncio.Event().wait()

    async def agent() -> None:
        await hangs()

    house.serve(agent, cancel_grace=0.05)
    await house.worker()
    run_id = await house.submit("agent")
    await started.wait()
    house.attempt(run_id).closing.hop()
    await house.store.cancel(run_id)
    assert (await house.until(run_id)).state.value == "cancelled"
