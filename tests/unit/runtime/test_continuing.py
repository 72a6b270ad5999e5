"""A run goes on in its next generation (Z1)."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import orjson
import pytest

import perdure
from perdure import sync
from perdure.codec import decode, encode
from perdure.core.record import RecordType
from perdure.core.run import RunState
from perdure.errors import BoundaryError
from perdure.store.blobs import MAX_INLINE
from tests.unit.runtime.harness import House, payload


async def test_the_same_run_has_the_last_generations_result(house: House) -> None:
    @perdure.step
    async def work(n: int) -> int:
        house.did[f"work {n}"] += 1
        return n * 10

    async def counter(n: int) -> dict[str, int]:
        done = await work(n)
        if n < 4:
            await perdure.continue_as(n + 1)
        return {"done": done, "generation": perdure.current().generation}

    house.serve(counter)
    await house.worker()
    run_id = await house.submit("counter", 1)
    assert await house.result(run_id) == {"done": 40, "generation": 4}
    assert dict(house.did) == {f"work {n}": 1 for n in (1, 2, 3, 4)}
    run = await house.store.get(run_id)
    assert (run.generation, run.attempts, decode(run.input or b"")) == (4, 0, 4)
    assert len(await house.entries(run_id)) == 1, "the journal is the last generation's"
    continued = [
        payload(event)
        for event in await house.log(run_id, RecordType.STATUS)
        if event.name == "queued"
    ]
    assert continued == [{"reason": "continued", "generation": n} for n in (2, 3, 4)]


async def test_synchronous_code_continues(house: House) -> None:
    @perdure.step
    def work(n: int) -> int:
        house.did[f"work {n}"] += 1
        return n

    def counter(n: int) -> str:
        work(n)
        if n < 3:
            sync.continue_as(n + 1)
        return f"ended at {n}"

    house.serve(counter)
    await house.worker()
    assert await house.run("counter", 1) == "ended at 3"
    assert dict(house.did) == {f"work {n}": 1 for n in (1, 2, 3)}


async def test_it_never_returns_and_what_the_agent_makes_of_it_counts_for_nothing(
    house: House,
) -> None:
    async def stubborn(n: int) -> Any:
        perdure.now()
        if n == 2:
            return "second"
        try:
            await perdure.continue_as(2)
        except asyncio.CancelledError:
            house.did["unwound"] += 1
            return "swallowed"
        finally:
            house.did["cleaned up"] += 1

    house.serve(stubborn)
    await house.worker()
    assert await house.run("stubborn", 1) == "second"
    assert dict(house.did) == {"unwound": 1, "cleaned up": 1}


async def test_effects_in_flight_are_recorded_first(house: House) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    @perdure.step
    async def slow() -> str:
        begun.set()
        await may_end.wait()
        house.did["slow"] += 1
        return "slow"

    async def parallel(n: int) -> str:
        if n == 2:
            return "over"
        task = asyncio.create_task(slow())
        await begun.wait()
        try:
            await perdure.continue_as(2)
        finally:
            task.cancel()

    house.serve(parallel)
    await house.worker()
    run_id = await house.submit("parallel", 1)
    attempt = await house.begun(run_id)
    await begun.wait()
    while attempt.closing.ending is None:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert (await house.store.get(run_id)).generation == 1
    may_end.set()
    assert await house.result(run_id) == "over"
    (done,) = [state for name, state in await house.states(run_id) if name.endswith("slow")]
    assert done == "done"


async def test_signals_that_were_not_taken_carry_over(house: House) -> None:
    async def inbox(seen: list[str]) -> list[str]:
        seen = [*seen, await perdure.wait_for("mail", type=str)]
        if seen[-1] != "end":
            await perdure.continue_as(seen)
        return seen

    house.serve(inbox, park_after=timedelta(0))
    await house.worker()
    run_id = await house.submit("inbox", [])
    await house.parked(run_id, "signal")
    for word in ("a", "b", "b", "c", "end"):
        await house.signal(run_id, "mail", word)
    assert await house.result(run_id) == ["a", "b", "b", "c", "end"]


async def test_a_parent_has_the_last_generations_result(house: House) -> None:
    async def child(n: int) -> str:
        perdure.now()
        if n < 3:
            await perdure.continue_as(n + 1)
        return f"child {n}"

    kid = house.serve(child)

    async def parent() -> str:
        return str(await kid.run(1))

    house.serve(parent)
    await house.worker()
    assert await house.run("parent") == "child 3"


async def test_what_generations_do_alike_is_not_the_same(house: House) -> None:
    """Keys handed to others, and runs that are started, are each generation's own."""
    keys: list[str] = []

    async def child() -> int:
        house.did["child"] += 1
        return 1

    kid = house.serve(child)

    @perdure.step(effect="idempotent")
    async def pay() -> str:
        keys.append(perdure.idempotency_key())
        return keys[-1]

    async def alike(n: int) -> int:
        keys.append(perdure.idempotency_key())
        await pay()
        await kid.run()
        if n < 2:
            await perdure.continue_as(n + 1)
        return n

    house.serve(alike)
    await house.worker()
    run_id = await house.submit("alike", 1)
    assert await house.result(run_id) == 2
    assert house.did["child"] == 2
    assert len(set(keys)) == 4
    done = [e.key for e in await house.log(run_id, RecordType.ENTRY) if e.state == "done"]
    assert len(done) == len(set(done)) == 4


async def test_a_crash_leaves_it_in_the_one_or_the_other(house: House) -> None:
    gate = asyncio.Event()

    @perdure.step
    async def work(n: int) -> int:
        house.did[f"work {n}"] += 1
        return n

    async def agent(n: int) -> int:
        await work(n)
        if n == 1:
            await gate.wait()
            await perdure.continue_as(2)
        await perdure.wait_for("go")
        return n

    house.serve(agent, park_after=timedelta(hours=1))
    worker = await house.worker()
    run_id = await house.submit("agent", 1)
    await house.until_entries(run_id, 1)
    worker = await house.next_life(worker)  # before: the first generation is replayed
    gate.set()
    await house.when(run_id, lambda run: run.generation == 2)
    await house.until_entries(run_id, 1)
    await house.next_life(worker)  # after: the second one
    await house.signal(run_id, "go")
    assert await house.result(run_id) == 2
    assert dict(house.did) == {"work 1": 1, "work 2": 1}


async def test_a_large_input_is_a_blob(house: House) -> None:
    async def grown(text: str) -> int:
        perdure.now()
        if len(text) <= MAX_INLINE:
            await perdure.continue_as("x" * (MAX_INLINE + 1))
        return len(text)

    house.serve(grown)
    await house.worker()
    assert await house.run("grown", "x") == MAX_INLINE + 1


async def test_failures_of_earlier_generations_are_forgiven(house: House) -> None:
    async def shaky(n: int) -> int:
        perdure.now()
        house.did[f"try {n}"] += 1
        if house.did[f"try {n}"] < 3:
            raise ConnectionError("again")
        if n < 3:
            await perdure.continue_as(n + 1)
        return n

    house.serve(shaky)
    await house.worker()
    run_id = await house.submit("shaky", 1)
    async with asyncio.timeout(20):
        while not (await house.store.get(run_id)).state.final:
            await house.store.wake_due()
            await asyncio.sleep(0)
    assert await house.result(run_id) == 3


async def test_a_generation_that_did_nothing_is_a_failure(house: House) -> None:
    """It would go round for ever (C6)."""

    async def spins(n: int) -> None:
        house.did["spin"] += 1
        await perdure.continue_as(n + 1)

    house.serve(spins)
    await house.worker()
    run_id = await house.submit("spins", 1)
    async with asyncio.timeout(20):
        while not (run := await house.store.get(run_id)).state.final:
            await house.store.wake_due()
            await asyncio.sleep(0)
    assert run.state is RunState.DEAD
    assert "before it did anything" in (run.error or {})["message"]
    assert (run.generation, house.did["spin"]) == (1, 3)


async def test_a_cancel_goes_before_it(house: House) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    @perdure.step
    async def slow() -> None:
        begun.set()
        await may_end.wait()

    async def agent(n: int) -> None:
        task = asyncio.create_task(slow())
        await begun.wait()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(perdure.continue_as(2), task)

    house.serve(agent, cancel_grace=timedelta(seconds=5))
    await house.worker()
    run_id = await house.submit("agent", 1)
    await begun.wait()
    await house.store.cancel(run_id)
    may_end.set()
    assert (await house.until(run_id)).state is RunState.CANCELLED


async def test_where_it_cannot_be_called(house: House) -> None:
    with pytest.raises(BoundaryError, match="outside a run"):
        await perdure.continue_as(1)

    @perdure.step(effect="once")
    async def pay() -> None:
        await perdure.continue_as(1)

    async def agent(n: int) -> str:
        try:
            await pay()
        except BoundaryError as error:
            return error.message
        return "no error"

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent", 1)
    run = await house.when(run_id, lambda r: r.state.final or r.state == "waiting")
    assert run.generation == 1
    said = run.result or orjson.dumps(run.waits)
    assert b"once effect" in said


async def test_an_input_that_the_agent_cannot_take_is_refused_at_once(house: House) -> None:
    async def typed(n: int) -> str:
        perdure.now()
        try:
            await perdure.continue_as("two")
        except perdure.PerdureError as error:
            return error.code

    house.serve(typed)
    await house.worker()
    assert await house.run("typed", 1) == "invalid_input"


async def test_in_a_later_generation_it_is_parked_woken_and_drained(house: House) -> None:
    async def agent(n: int) -> list[Any]:
        at = perdure.now().isoformat()
        if n == 1:
            await perdure.continue_as(2)
        await perdure.sleep(3600)
        return [n, at == perdure.now().isoformat()]

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent", 1)
    await house.parked(run_id, "sleep")
    await house.drain(worker)
    await house.worker()
    assert await house.pass_time(timedelta(hours=2)) == 1
    assert (await house.result(run_id))[0] == 2
    assert encode(2) == (await house.store.get(run_id)).input
