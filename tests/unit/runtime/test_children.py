"""Runs that start runs: each is an effect of its parent and a run of its own."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from perdure import step
from perdure.config import AgentConfig, Config
from perdure.errors import BoundaryError, RunCancelled, RunDead, RunError, RunFailed
from perdure.runtime.handle import MAX_DEPTH
from perdure.store.rows import Filter
from tests.unit.runtime.harness import House
from tests.unit.runtime.test_replay import Gate


async def children(house: House, run_id: str) -> list[Any]:
    return await house.store.find(Filter(parent=run_id))


async def test_a_child_run_gives_its_result(house: House) -> None:
    async def double(n: int) -> int:
        return n * 2

    handle = house.serve(double)

    async def parent(n: int) -> int:
        return int(await handle.run(n)) + 1

    house.serve(parent)
    await house.worker()
    run_id = await house.submit("parent", 4, tenant="t", labels={"a": "b"}, timeout=timedelta(9))
    assert await house.result(run_id) == 9
    (child,) = await children(house, run_id)
    assert (child.agent, child.depth, child.tenant, child.labels) == ("double", 1, "t", {"a": "b"})
    assert child.deadline_at is not None


async def test_the_parent_parks_while_its_child_runs(house: House) -> None:
    """C1, C7: and wakes with its end."""
    go_on = asyncio.Event()

    async def slow() -> str:
        await go_on.wait()
        return "done"

    handle = house.serve(slow)

    async def parent() -> Any:
        return await handle.run()

    house.serve(parent, park_after=0)
    await house.worker()
    run_id = await house.submit("parent")
    run = await house.parked(run_id, "run")
    (child,) = await children(house, run_id)
    assert run.waits[0]["name"] == f"run:{child.id}"
    go_on.set()
    assert await house.result(run_id) == "done"
    assert len(await children(house, run_id)) == 1


async def test_a_crash_starts_no_second_child(house: House) -> None:
    """K6: its id follows from the effect's key."""
    gate = Gate()

    async def child(n: int) -> int:
        house.did["child"] += 1
        await gate()
        return n

    handle = house.serve(child)

    async def parent() -> list[Any]:
        return [await handle.run(1), await handle.run(1)]

    house.serve(parent, park_after=60)
    worker = await house.worker()
    run_id = await house.submit("parent")
    await gate.reached.wait()
    await house.next_life(worker)
    assert await house.result(run_id) == [1, 1]
    assert len(await children(house, run_id)) == 2


async def test_parallel_children(house: House) -> None:
    """C1: all of them are awaited at once, and each result goes to its own."""
    started, go_on = [], asyncio.Event()

    async def child(n: int) -> int:
        started.append(n)
        await go_on.wait()
        return n * 10

    handle = house.serve(child)

    async def parent() -> list[Any]:
        return [*await asyncio.gather(*(handle.run(n) for n in range(5)))]

    house.serve(parent, park_after=0)
    await house.worker()
    run_id = await house.submit("parent")
    await house.parked(run_id, *["run"] * 5)
    go_on.set()
    assert await house.result(run_id) == [0, 10, 20, 30, 40]
    assert sorted(started) == [0, 1, 2, 3, 4]
    assert len(await children(house, run_id)) == 5


async def test_a_childs_failure_is_raised_in_its_parent(house: House) -> None:
    """And is replayed alike once the parent went on (F1)."""
    seen: list[tuple[type, str]] = []

    async def fails(how: str) -> None:
        house.did[how] += 1
        if how == "failed":
            raise TypeError("bug")
        raise ConnectionError("down")

    handle = house.serve(fails)

    @step
    async def after() -> None: ...

    async def parent() -> None:
        for how in ("failed", "dead"):
            try:
                await handle.run(how)
            except RunError as error:
                seen.append((type(error), str(error.__cause__)))
        await after()
        if len(seen) == 2:
            raise ConnectionError("once more")

    house.serve(parent)
    await house.worker()
    run_id = await house.submit("parent")
    assert (await house.until(run_id)).state.value == "succeeded"
    assert seen == [(RunFailed, "bug"), (RunDead, "down")] * 2
    assert house.did == {"failed": 1, "dead": 3}


async def test_a_childs_failure_nobody_caught_is_tried_again(house: House) -> None:
    """F1: by another child, which has another id... of the same effect, redriven by its retry."""

    async def flaky() -> str:
        house.did["flaky"] += 1
        if house.did["flaky"] == 1:
            raise TypeError("this once")
        return "fine"

    handle = house.serve(flaky)

    async def parent() -> Any:
        return await handle.run()

    house.serve(parent)
    await house.worker()
    run = await house.until(await house.submit("parent"))
    # A failed child stays failed: the parent's own policy says whether that is final.
    assert run.state.value == "failed"
    assert (run.error or {})["code"] == "run_failed"


async def test_a_cancelled_child_is_an_error_in_its_parent(house: House) -> None:
    started = asyncio.Event()

    async def slow() -> None:
        started.set()
        await asyncio.Event().wait()

    handle = house.serve(slow)

    async def parent() -> str:
        try:
            await handle.run()
        except RunCancelled:
            return "cancelled"
        return "done"

    house.serve(parent, park_after=0)
    await house.worker()
    run_id = await house.submit("parent")
    await started.wait()
    (child,) = await children(house, run_id)
    await house.store.cancel(child.id)
    assert await house.result(run_id) == "cancelled"


async def test_start_does_not_wait(house: House) -> None:
    """``start`` gives the run; it is one effect."""
    gate = Gate()

    async def child(n: int) -> int:
        return n

    handle = house.serve(child)
    seen = []

    async def parent() -> str:
        started = await handle.start(3)
        seen.append(started)
        await gate()
        return started.id

    house.serve(parent)
    worker = await house.worker()
    run_id = await house.submit("parent")
    await gate.reached.wait()
    await house.next_life(worker)
    child_id = await house.result(run_id)
    assert await house.result(child_id) == 3
    assert [s.id for s in seen] == [child_id, child_id]
    assert seen[0].agent == "child"
    assert len(await children(house, run_id)) == 1


@pytest.mark.parametrize("size", [100, 20_000, 300_000])
async def test_large_and_binary_results_of_children(house: House, size: int) -> None:
    """What does not fit into a signal is read from the child."""

    async def text(n: int) -> str:
        return "x" * n

    async def raw(n: int) -> bytes:
        return b"\x00" * n

    texts, raws = house.serve(text), house.serve(raw)
    gate = Gate()

    async def parent() -> list[int]:
        found = [len(await texts.run(size)), len(await raws.run(size))]
        await gate()
        return found

    house.serve(parent, park_after=0)
    worker = await house.worker()
    run_id = await house.submit("parent")
    await gate.reached.wait()
    await house.next_life(worker)
    assert await house.result(run_id) == [size, size]


async def test_nesting_is_bounded(house: House) -> None:
    """A run that starts itself ends."""
    handles: list[Any] = []

    async def again(depth: int) -> int:
        house.did["again"] += 1
        if depth > MAX_DEPTH + 5:
            return depth
        return int(await handles[0].run(depth + 1))

    handles.append(house.serve(again, park_after=0))
    await house.worker()
    run = await house.until(await house.submit("again", 0))
    assert run.state.value == "failed"
    assert house.did["again"] >= MAX_DEPTH + 1


async def test_a_handle_outside_a_run_says_what_to_use(house: House) -> None:
    async def agent() -> None: ...

    handle = house.serve(agent)
    with pytest.raises(BoundaryError, match="outside a run"):
        await handle.run()


async def test_a_sync_agent_can_start_runs(house: House) -> None:
    """From the loop of its own that some SDKs run: a child is an effect there too."""

    async def child(n: int) -> int:
        return n

    handle = house.serve(child)

    def parent() -> Any:
        return asyncio.run(handle.run(7))

    house.serve(parent, park_after=0)
    await house.worker()
    assert await house.run("parent") == 7


async def test_a_child_has_the_settings_of_the_agent_as_it_is_served(house: House) -> None:
    """``[agents.NAME]`` says otherwise than the code that starts it knows."""

    async def small() -> str:
        return "done"

    handle = house.app.add(small)

    async def big() -> str:
        return (await handle.start()).id

    house.app.add(big)
    settings = Config(agents={"small": AgentConfig(attempts=2, priority=7)})
    house.app.agents.update(house.app.configured(settings))
    await house.worker()
    child = await house.store.get(await house.run("big"))
    assert (child.max_attempts, child.priority) == (2, 7)
