"""What tools and steps promise, and what a crash in their middle means (P1-P4)."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import orjson
import pytest

import perdure
from perdure import NotDone, step, sync, tool
from perdure.core import crash
from perdure.core.record import Promise
from perdure.errors import BoundaryError, EffectTimeout
from perdure.runtime.declared import Declared
from tests.unit.runtime.harness import AT_ONCE, House
from tests.unit.runtime.test_replay import Gate


def once(house: House, gate: Gate, **declared: Any) -> Any:
    """A payment that is cut in its middle the first time."""

    @tool(effect="once", **declared)
    async def pay(amount: int) -> str:
        house.did["pay"] += 1
        await gate()
        return f"paid {amount}"

    async def agent() -> str:
        return str(await pay(5))

    return agent


async def key_asked_for(house: House, run_id: str) -> bytes:
    run = await house.parked(run_id, "uncertain")
    return bytes.fromhex(run.waits[0]["key"])


async def test_reads_and_idempotent_tools_run_again_without_a_word(house: House) -> None:
    """P1: running them again is harmless."""
    gate = Gate()

    @tool(effect="reads")
    async def look() -> str:
        house.did["look"] += 1
        await gate()
        return "seen"

    async def agent() -> str:
        return await look()

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    await house.next_life(worker)
    assert await house.result(run_id) == "seen"
    assert house.did["look"] == 2
    assert await house.warnings(run_id) == []


@pytest.mark.parametrize("sync", [False, True])
async def test_an_undeclared_tool_runs_again_with_an_event_and_a_metric(
    house: House, sync: bool
) -> None:
    """P1: an unmodified framework tool that a crash cut."""
    gate, started, release = Gate(), threading.Event(), threading.Event()

    @tool
    async def act() -> str:
        house.did["act"] += 1
        await gate()
        return "acted"

    @tool
    def act_sync() -> str:
        house.did["act"] += 1
        started.set()
        release.wait(10)
        return "acted"

    async def agent() -> str:
        return await act()

    def agent_sync() -> str:
        return act_sync()

    house.serve(agent_sync if sync else agent, name="agent")
    worker = await house.worker()
    run_id = await house.submit("agent")
    if sync:
        assert await asyncio.to_thread(started.wait, 10)
    else:
        await gate.reached.wait()
    await house.until_entries(run_id, 1, "intent")
    worker.draining = True
    await house.store.release(worker.id)
    release.set()
    await house.stop(worker)
    second = await house.worker()
    assert await house.result(run_id) == "acted"
    assert house.did["act"] == 2
    assert await house.warnings(run_id) == ["rerun"]
    assert sum(second.runtime.counters.values()) == 1
    ((metric, labels),) = second.runtime.counters
    assert metric == "perdure_undeclared_reruns_total"
    assert dict(labels)["tool"].endswith("act_sync" if sync else "act")


@pytest.mark.parametrize("sync", [False, True])
async def test_policy_ask_parks_an_undeclared_tool(house: House, sync: bool) -> None:
    """P1: undeclared = "ask"."""
    gate, started, release = Gate(), threading.Event(), threading.Event()

    @tool
    async def act() -> str:
        house.did["act"] += 1
        await gate()
        return "acted"

    @tool
    def act_sync() -> str:
        house.did["act"] += 1
        started.set()
        release.wait(10)
        return "acted"

    async def agent() -> str:
        return await act()

    def agent_sync() -> str:
        return act_sync()

    house.serve(agent_sync if sync else agent, name="agent", undeclared="ask")
    worker = await house.worker()
    run_id = await house.submit("agent")
    if sync:
        assert await asyncio.to_thread(started.wait, 10)
    else:
        await gate.reached.wait()
    worker.draining = True
    await house.store.release(worker.id)
    release.set()
    await house.stop(worker)
    await house.worker()
    key = await key_asked_for(house, run_id)
    assert house.did["act"] == 1
    await house.store.resolve(run_id, key, value=b'"by hand"', who="me")
    assert await house.result(run_id) == "by hand"


async def test_a_once_that_was_cut_parks_and_takes_an_operators_word(house: House) -> None:
    """P1, P3: intent first; nobody guesses about a sent email."""
    gate = Gate()
    house.serve(once(house, gate), name="agent")
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    assert [s for _, s in await house.states(run_id)] == ["intent"]
    await house.next_life(worker)
    key = await key_asked_for(house, run_id)
    await house.store.resolve(run_id, key, value=b'"paid by hand"', who="me")
    assert await house.result(run_id) == "paid by hand"
    assert house.did["pay"] == 1


async def test_a_once_that_was_cut_can_be_done_again(house: House) -> None:
    """P3: "do it again"."""
    gate = Gate()
    house.serve(once(house, gate), name="agent")
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    await house.next_life(worker)
    key = await key_asked_for(house, run_id)
    await house.store.resolve(run_id, key, value=None)
    assert await house.result(run_id) == "paid 5"
    assert house.did["pay"] == 2
    assert [s for _, s in await house.states(run_id)] == ["intent", "void", "intent", "done"]


async def test_a_completed_once_is_never_repeated(house: House) -> None:
    """P1: exactly once."""
    gate = Gate()

    @tool(effect="once")
    async def pay() -> str:
        house.did["pay"] += 1
        return "paid"

    async def agent() -> str:
        found = await pay()
        await gate()
        return found

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    await house.next_life(worker)
    assert await house.result(run_id) == "paid"
    assert house.did["pay"] == 1


@pytest.mark.parametrize("sync", [False, True])
async def test_reconcile_that_finds_it_gives_the_result(house: House, sync: bool) -> None:
    """P3: reconcile, called with the same arguments."""
    gate, asked = Gate(), []

    def look_up(amount: int) -> str:
        asked.append(amount)
        return f"found {amount}"

    async def look_up_async(amount: int) -> str:
        return look_up(amount)

    agent = once(house, gate, reconcile=look_up if sync else look_up_async)
    house.serve(agent, name="agent")
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    await house.next_life(worker)
    assert await house.result(run_id) == "found 5"
    assert (house.did["pay"], asked) == (1, [5])


async def test_reconcile_that_says_not_done_has_it_done(house: House) -> None:
    """P3: it certainly did not happen."""
    gate = Gate()

    async def look_up(amount: int) -> str:
        raise NotDone("no trace of it")

    house.serve(once(house, gate, reconcile=look_up), name="agent")
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    await house.next_life(worker)
    assert await house.result(run_id) == "paid 5"
    assert house.did["pay"] == 2


async def test_reconcile_that_fails_asks(house: House) -> None:
    """P3: it knows no more than we do."""
    gate = Gate()

    async def look_up(amount: int) -> str:
        raise ConnectionError("down")

    house.serve(once(house, gate, reconcile=look_up), name="agent")
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    await house.next_life(worker)
    await key_asked_for(house, run_id)
    assert house.did["pay"] == 1


async def test_nobody_repeats_or_reconciles_before_the_deadline(house: House) -> None:
    """P3: while the process of the attempt before may be alive."""
    gate, asked = Gate(), []

    def look_up(amount: int) -> str:
        asked.append(amount)
        return "found"

    house.serve(once(house, gate, reconcile=look_up, timeout=3600), name="agent")
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    await house.stop(worker)  # it leaves by itself: nothing proves that its process is gone
    await house.worker()
    run = await house.parked(run_id, "uncertain")
    assert asked == []
    assert run.wake_at is not None
    await house.pass_time(timedelta(seconds=3601))
    assert await house.result(run_id) == "found"
    assert (house.did["pay"], asked) == (1, [5])


@pytest.mark.parametrize("error", [ConnectionError("reset"), ValueError("odd")])
async def test_an_exception_out_of_a_once_is_uncertain(house: House, error: Exception) -> None:
    """P3: not failed: it may have happened."""

    @tool(effect="once")
    async def pay() -> None:
        house.did["pay"] += 1
        raise error

    async def agent() -> str:
        try:
            await pay()
        except Exception:
            return "went on"
        return "paid"

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    key = await key_asked_for(house, run_id)
    assert [s for _, s in await house.states(run_id)] == ["intent"]
    await house.store.resolve(run_id, key, value=b"null")
    assert await house.result(run_id) == "paid"
    assert house.did["pay"] == 1


async def test_a_timeout_of_a_once_is_uncertain(house: House) -> None:
    """P3: like an exception."""

    @tool(effect="once", timeout=0.01)
    async def pay() -> None:
        await asyncio.Event().wait()

    async def agent() -> None:
        await pay()

    house.serve(agent)
    await house.worker()
    await key_asked_for(house, await house.submit("agent"))


async def test_a_once_that_is_given_up_before_it_begins_is_abandoned(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F3: its intent may be written, but the body never began: there is nothing to ask."""
    begun: list[str] = []
    task: asyncio.Task[None] | None = None

    def reach(point: crash.Point) -> None:
        if point is crash.Point.BEFORE_INTENT and task is not None:
            asyncio.get_running_loop().call_soon(task.cancel)

    monkeypatch.setattr("perdure.runtime.ticket.crash.reach", reach)

    @tool(effect="once")
    async def pay() -> None:
        begun.append("pay")

    async def agent() -> str:
        nonlocal task
        task = asyncio.create_task(pay())
        await asyncio.wait({task})
        return "gave up" if task.cancelled() else "paid"

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    assert await house.result(run_id) == "gave up"
    assert not begun
    assert [state for _, state in await house.states(run_id)] == ["intent", "abandoned"]


async def test_a_once_that_the_agent_gives_up_is_uncertain(house: House) -> None:
    """P3, F3: it is not abandoned: it may have happened."""

    begun = asyncio.Event()

    @tool(effect="once")
    async def pay() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def agent() -> str:
        task = asyncio.create_task(pay())
        await begun.wait()
        task.cancel()
        await asyncio.wait({task})
        return "gave up" if task.cancelled() else "paid"

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    await key_asked_for(house, run_id)
    assert [s for _, s in await house.states(run_id)] == ["intent"]


async def test_not_done_out_of_a_once_is_a_failure_and_may_be_retried(house: House) -> None:
    """P3: unless the tool raises NotDone."""

    @tool(effect="once", retries=AT_ONCE)
    async def pay(limit: int) -> str:
        house.did[str(limit)] += 1
        if house.did[str(limit)] < limit:
            raise NotDone("declined")
        return "paid"

    @step
    async def after() -> None: ...

    async def agent() -> list[str]:
        found = [await pay(2)]
        try:
            await pay(9)
        except NotDone as error:
            found.append(str(error))
        await after()
        return found

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    assert await house.result(run_id) == ["paid", "declined"]
    assert house.did == {"2": 2, "9": 3}
    states = [s for _, s in await house.states(run_id)]
    assert states == ["intent", "done", "intent", "failed", "done"]


@pytest.mark.parametrize("verb", ["sleep", "wait_for", "child"])
async def test_nothing_parks_inside_a_once(house: House, verb: str) -> None:
    """P4: sleep, wait_for and child runs there are errors, also in a step inside it."""

    async def other() -> None: ...

    handle = house.serve(other)

    @step
    async def deeper() -> None:
        if verb == "sleep":
            await perdure.sleep(0)
        elif verb == "wait_for":
            await perdure.wait_for("x")
        else:
            await handle.run()

    @tool(effect="once")
    async def pay() -> str:
        try:
            await deeper()
        except BoundaryError as error:
            return str(error)
        return "parked"

    async def agent() -> str:
        return await pay()

    house.serve(agent)
    await house.worker()
    assert "once" in await house.run("agent")


async def test_promises_of_sync_tools_in_sync_agents(house: House) -> None:
    """P1, P3: the body runs in a thread, the promise is the same."""
    started, release = threading.Event(), threading.Event()

    @tool(effect="once")
    def pay() -> str:
        house.did["pay"] += 1
        started.set()
        release.wait(10)
        return "paid"

    @step
    def before() -> int:
        house.did["before"] += 1
        return 1

    @step
    def after() -> int:
        house.did["after"] += 1
        return 2

    def agent() -> list[Any]:
        return [before(), pay(), after()]

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    assert await asyncio.to_thread(started.wait, 10)
    worker.draining = True
    await house.store.release(worker.id)
    release.set()
    await house.stop(worker)
    await house.worker()
    key = await key_asked_for(house, run_id)
    await house.store.resolve(run_id, key, value=b'"by hand"')
    assert await house.result(run_id) == [1, "by hand", 2]
    assert house.did == {"before": 1, "pay": 1, "after": 1}


async def test_one_branch_in_a_thread_whatever_performs_its_steps(house: House) -> None:
    """K3, K4: steps with retries or a timeout are performed on the loop, in the thread's branch."""

    @step(retries=2)
    def a(n: int) -> int:
        return n

    @step
    def b(n: int) -> int:
        return n

    @step(timeout=5)
    def c(n: int) -> int:
        return n

    def agent() -> int:
        return a(1) + b(2) + c(3) + b(4) + a(5)

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    assert await house.result(run_id) == 15
    entries = await house.entries(run_id)
    assert [e.branch for e in entries] == [""] * 5
    assert [e.after for e in entries] == [b"", *[e.key for e in entries[:-1]]]


@pytest.mark.parametrize("sync", [False, True])
async def test_a_step_that_takes_too_long_fails(house: House, sync: bool) -> None:
    """``timeout`` bounds each try; in a thread too, whose end nobody waits for in the agent."""
    release = threading.Event()

    @step(timeout=0.02)
    async def slow() -> None:
        await asyncio.Event().wait()

    @step(timeout=0.02)
    def slow_sync() -> None:
        release.wait(10)

    @step
    def after() -> None: ...

    async def agent() -> str:
        with pytest.raises(EffectTimeout, match=r"longer than its timeout of 0\.02 s"):
            await slow()
        await after.aio()  # type: ignore[attr-defined]
        return "went on"

    def agent_sync() -> str:
        with pytest.raises(EffectTimeout):
            slow_sync()
        after()
        release.set()
        return "went on"

    house.serve(agent_sync if sync else agent, name="agent")
    await house.worker()
    run_id = await house.submit("agent")
    assert await house.result(run_id) == "went on"
    assert [s for _, s in await house.states(run_id)] == ["failed", "done"]


async def test_a_body_in_a_thread_ends_before_the_lease_is_given_back(house: House) -> None:
    """C3: every effect body and thread of the attempt has ended."""
    started, release = threading.Event(), threading.Event()
    order: list[str] = []

    @step(timeout=0.02)
    def slow() -> None:
        started.set()
        release.wait(10)
        order.append("body ended")

    async def agent() -> None:
        try:
            await slow.aio()  # type: ignore[attr-defined]
        except EffectTimeout:
            asyncio.get_running_loop().call_later(0.05, release.set)
            raise

    house.serve(agent, fatal=(EffectTimeout,), retry=perdure.RetryPolicy(attempts=1))
    await house.worker()
    run_id = await house.submit("agent")
    await house.until(run_id)
    assert order == ["body ended"]


async def test_sync_steps_that_nest_do_not_wait_for_each_others_threads(house: House) -> None:
    """However many bodies wait for the bodies inside them, there is a thread for each."""
    many = 40
    barrier = threading.Barrier(many, timeout=10)

    @step(timeout=10)
    def inner(n: int) -> int:
        return n

    @step(timeout=10)
    def outer(n: int) -> int:
        barrier.wait()  # all of them are under way
        return inner(n)

    async def agent() -> int:
        return sum(await asyncio.gather(*(outer.aio(n) for n in range(many))))  # type: ignore[attr-defined]

    house.serve(agent)
    await house.worker()
    assert await house.run("agent") == sum(range(many))


async def test_a_sync_step_on_the_loop_is_refused(house: House) -> None:
    """It would stop every run: BoundaryError, with the way out."""

    @step
    def blocking() -> int:
        return 1

    async def agent() -> int:
        with pytest.raises(BoundaryError, match="event loop") as caught:
            blocking()
        assert ".aio" in str(caught.value.hint)
        with pytest.raises(BoundaryError):
            sync.sleep(0)
        return await blocking.aio()  # type: ignore[attr-defined,no-any-return]

    house.serve(agent)
    await house.worker()
    assert await house.run("agent") == 1


async def test_outside_a_run_steps_are_what_they_were() -> None:
    @step
    async def double(n: int) -> int:
        return n * 2

    @tool(effect="once")
    def triple(n: int) -> tuple[int]:
        return (n * 3,)

    assert await double(2) == 4
    assert triple(2) == (6,)
    assert await triple.aio(2) == (6,)  # type: ignore[attr-defined]


def test_declarations_are_checked() -> None:
    with pytest.raises(BoundaryError, match="no promise"):
        step(effect="maybe")
    with pytest.raises(BoundaryError, match="once"):
        tool(effect="reads", reconcile=lambda: None)
    with pytest.raises(BoundaryError, match="name"):
        step(name="")
    assert perdure.reads() == Declared("tool", effect=Promise.READS)
    assert perdure.once(timeout=3).timeout == timedelta(seconds=3)
    assert perdure.idempotent().effect == "idempotent"
    assert step(retries=2)(lambda: None).__perdure__.retries.attempts == 2  # type: ignore[attr-defined]


async def test_a_tool_call_tells_what_it_was_asked_for(house: House) -> None:
    """For whoever watches, or must decide what happened: by name, and not without limit."""

    @tool
    async def search(query: str, *, limit: int = 3) -> str:
        return query

    @tool(effect="once")
    async def pay(amount: int) -> int:
        return amount

    @step
    async def work(n: int) -> int:
        return n

    async def agent() -> str:
        await search("x" * 20_000)
        await pay(7)
        await work(1)
        return await search("sea", limit=2)

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    assert await house.result(run_id) == "sea"
    events = await house.log(run_id, "entry")
    intents = [orjson.loads(e.value or b"") for e in events if e.state == "intent"]
    assert intents[0] == {"arguments_size": 20_012}
    assert intents[1].pop("deadline")
    assert intents[1:] == [
        {"arguments": {"amount": 7}},
        {"arguments": {"query": "sea", "limit": 2}},
    ]
