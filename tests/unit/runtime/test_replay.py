"""What a later attempt finds in the journal: keys, branches, changes of the agent (K1-K8)."""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure import step, tool
from perdure.codec import canonical
from perdure.core.digest import digest
from perdure.core.ports import boundary, current_boundary
from perdure.core.record import Kind
from perdure.runtime import attempt as attempt_module
from tests.unit.runtime.harness import House, payload


async def model(name: str, prompt: Any, answer: Any) -> Any:
    """A model call, as the gateway makes it at its boundary."""
    run = boundary()
    assert run is not None
    ticket = await run.request(Kind.MODEL, name, digest(canonical(prompt)))
    if not ticket.live:
        return perdure.codec.decode(ticket.value)
    data = perdure.codec.encode(answer() if callable(answer) else answer)
    await ticket.done(data, request=[canonical(prompt)])
    return perdure.codec.decode(data)


class Gate:
    """Code under test waits here the first time it comes."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    async def __call__(self) -> None:
        if not self.reached.is_set():
            self.reached.set()
            await asyncio.Event().wait()


async def test_entries_say_where_they_come_from(house: House) -> None:
    """K1: scope, branch, after, kind, name, digest, occurrence, promise, state, value, epoch."""

    @step(effect="reads")
    async def first(n: int) -> int:
        return n

    @tool(name="second", effect="idempotent")
    async def again(n: int) -> int:
        return await first(n) + await first(n)

    async def agent() -> int:
        return await first(1) + await again(2)

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    assert await house.result(run_id) == 5
    one, *_, inner_one, inner_two = sorted(await house.entries(run_id), key=lambda e: e.scope)
    outer = next(e for e in await house.entries(run_id) if e.name == "second")
    assert (one.scope, one.branch, one.after, one.kind) == (b"", "", b"", "step")
    assert one.name.endswith("first")
    assert (one.occurrence, one.promise, one.state, one.value) == (0, "reads", "done", b"1")
    assert one.digest == digest(canonical([[1], {}]))
    assert one.epoch == 1
    assert (outer.scope, outer.after, outer.kind, outer.promise) == (
        b"", one.key, "tool", "idempotent",
    )  # fmt: skip
    # K2: what is asked for inside an effect has it as its scope; K4: in order.
    inside = sorted((inner_one, inner_two), key=lambda e: e.occurrence)
    assert [(e.scope, e.occurrence) for e in inside] == [(outer.key, 0), (outer.key, 1)]
    assert [e.after for e in inside] == [b"", inside[0].key]


async def test_a_completed_step_is_not_repeated(house: House) -> None:
    """K6: the earliest unread entry of the same place and content answers."""
    gate = Gate()

    @step
    async def count(n: int) -> int:
        house.did[f"count {n}"] += 1
        return house.did.total()

    async def agent() -> list[int]:
        found = [await count(1), await count(2), await count(1)]
        await gate()
        return [*found, await count(1)]

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    await house.next_life(worker)
    assert await house.result(run_id) == [1, 2, 3, 4]
    assert house.did == {"count 1": 3, "count 2": 1}
    assert {e.epoch for e in await house.entries(run_id)} == {1, 2}


async def test_a_parent_takes_what_was_done_inside_it_along(house: House) -> None:
    """K2: matching a done effect consumes its subtree; one that was cut finds what is in it."""
    gate = Gate()

    @step
    async def leaf(n: int) -> int:
        house.did[f"leaf {n}"] += 1
        return n

    @step
    async def branch(n: int) -> int:
        house.did[f"branch {n}"] += 1
        total = await leaf(n) + await leaf(n + 1)
        if n == 10:
            await gate()
        return total + await leaf(n + 2)

    async def agent() -> int:
        return await branch(0) + await branch(10)

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    await house.next_life(worker)
    assert await house.result(run_id) == 3 + 33
    assert house.did == {
        "branch 0": 1, "leaf 0": 1, "leaf 1": 1, "leaf 2": 1,
        "branch 10": 2, "leaf 10": 1, "leaf 11": 1, "leaf 12": 1,
    }  # fmt: skip


@pytest.mark.parametrize("how", ["gather", "group", "wait", "threads"])
async def test_parallel_effects_need_no_order(house: House, how: str) -> None:
    """K3: branches are told apart, whatever order they come in; what is recorded is not done
    again, and what was in flight is done once more."""
    names, held = list("abcdef"), ["b", "e"]
    order = random.Random(7)
    release = threading.Event()
    lives = 0

    @step
    async def work(name: str) -> str:
        house.did[name] += 1
        if lives == 1 and name in held:
            await asyncio.Event().wait()
        return name * 2

    @step
    def blocking(name: str) -> str:
        house.did[name] += 1
        if lives == 1 and name in held:
            release.wait(10)
            raise ConnectionError("cut")
        return name * 2

    async def branch(name: str) -> str:
        return await work(name) + await work(name + "!")

    def thread(name: str) -> str:
        return blocking(name) + blocking(name + "!")

    async def agent() -> list[str]:
        nonlocal lives
        lives += 1
        mixed = list(names)
        order.shuffle(mixed)
        if how == "gather":
            return sorted(await asyncio.gather(*map(branch, mixed)))
        if how == "group":
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(branch(n)) for n in mixed]
            return sorted(t.result() for t in tasks)
        if how == "wait":
            done, _ = await asyncio.wait([asyncio.ensure_future(branch(n)) for n in mixed])
            return sorted(t.result() for t in done)
        return sorted(await asyncio.gather(*(asyncio.to_thread(thread, n) for n in mixed)))

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await house.until_entries(run_id, 8)
    worker.draining = True
    await house.store.release(worker.id)
    release.set()
    await house.stop(worker)
    await house.worker()
    assert await house.result(run_id) == sorted(n * 2 + (n + "!") * 2 for n in names)
    assert {name for name, times in house.did.items() if times != 1} == set(held)
    assert len(await house.entries(run_id)) == 12


async def test_siblings_that_come_in_another_order_inside_a_step(house: House) -> None:
    """K3: the children of a step's body are siblings, whichever reaches its boundary first."""
    gate = Gate()
    first: list[str] = ["a", "b"]

    @step
    async def leaf(name: str) -> str:
        house.did[name] += 1
        if name == "b":
            await gate()
        return name

    @step
    async def body() -> list[str]:
        names = list(first)
        return sorted(await asyncio.gather(*map(leaf, names)))

    async def agent() -> list[str]:
        return await body()

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    await house.until_entries(run_id, 1)
    first.reverse()
    await house.next_life(worker)
    assert await house.result(run_id) == ["a", "b"]
    assert house.did == {"a": 1, "b": 2}


async def test_siblings_of_a_sync_agents_threads(house: House) -> None:
    """K3: threads are branches like tasks."""
    started, cut = threading.Event(), threading.Event()
    order = ["a", "b"]

    @step
    def leaf(name: str) -> str:
        house.did[name] += 1
        if name == "b" and not cut.is_set():
            started.set()
            cut.wait(10)
            raise perdure.errors.Parked("cut")
        return name

    def agent() -> list[str]:
        with ThreadPoolExecutor(2) as pool:
            found = [pool.submit(copy_context().run, leaf, name) for name in order]
            return sorted(f.result() for f in found)

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await house.until_entries(run_id, 1)
    assert await asyncio.to_thread(started.wait, 10)
    order.reverse()
    worker.draining = True
    await house.store.release(worker.id)
    cut.set()
    await house.stop(worker)
    await house.worker()
    assert await house.result(run_id) == ["a", "b"]
    assert house.did == {"a": 1, "b": 2}


async def test_other_branches_that_are_unread_are_no_divergence(house: House) -> None:
    """K6: entries of other branches that are still unread are normal concurrency."""
    gate, second = Gate(), asyncio.Event()

    @step
    async def work(name: str) -> str:
        house.did[name] += 1
        return name

    async def quick() -> str:
        return await work("quick 1") + await work("quick 2")

    async def slow() -> str:
        if second.is_set():
            await asyncio.sleep(0.01)  # in the next life it comes late
        return await work("slow 1") + await work("slow 2")

    async def agent() -> list[str]:
        found = await asyncio.gather(slow(), quick())
        await gate()
        return [*found]

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    second.set()
    await house.next_life(worker)
    assert await house.result(run_id) == ["slow 1slow 2", "quick 1quick 2"]
    assert set(house.did.values()) == {1}
    assert await house.warnings(run_id) == []


async def test_a_changed_prompt_reuses_the_answer_of_its_place(house: House) -> None:
    """K7: by default the recorded answer is used, with a warning event."""
    gate, prompt = Gate(), ["v1"]

    async def agent() -> list[str]:
        first = await model("m", f"one {prompt[0]}", lambda: house.did.update(["one"]) or "A")
        second = await model("m", f"two {prompt[0]}", lambda: house.did.update(["two"]) or "B")
        await gate()
        return [first, second, await model("m", "three", "C")]

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    prompt[0] = "v2"
    await house.next_life(worker)
    assert await house.result(run_id) == ["A", "B", "C"]
    assert house.did == {"one": 1, "two": 1}
    assert await house.warnings(run_id) == ["changed", "changed"]


async def test_a_changed_prompt_is_asked_anew_where_policy_says_redo(house: House) -> None:
    """K7: redo."""
    gate, prompt = Gate(), ["v1"]

    async def agent() -> str:
        answer = await model("m", prompt[0], f"to {prompt[0]}")
        await gate()
        return str(answer)

    house.serve(agent, changed="redo")
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    prompt[0] = "v2"
    await house.next_life(worker)
    assert await house.result(run_id) == "to v2"
    assert await house.warnings(run_id) == []


async def test_a_changed_prompt_parks_where_policy_says_park(house: House) -> None:
    """K7: park; an operator's "do it again" voids the entry and the run goes on."""
    gate, prompt = Gate(), ["v1"]

    async def agent() -> str:
        answer = await model("m", prompt[0], f"to {prompt[0]}")
        await gate()
        return str(answer)

    house.serve(agent, changed="park")
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    prompt[0] = "v2"
    await house.next_life(worker)
    run = await house.parked(run_id, "diverged")
    await house.store.resolve(run_id, bytes.fromhex(run.waits[0]["key"]), value=None)
    assert await house.result(run_id) == "to v2"


async def test_two_changed_calls_beside_each_other_are_not_reused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K7: exactly one candidate on each side, or it is not reuse."""
    monkeypatch.setattr(attempt_module, "UNSURE_SECONDS", 0.05)
    gate, prompt = Gate(), ["v1"]

    async def agent() -> list[str]:
        found = await asyncio.gather(
            model("m", f"a {prompt[0]}", f"a {prompt[0]}"),
            model("m", f"b {prompt[0]}", f"b {prompt[0]}"),
        )
        await gate()
        return [*found]

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    prompt[0] = "v2"
    await house.next_life(worker)
    assert await house.result(run_id) == ["a v2", "b v2"]
    assert await house.warnings(run_id) == []


async def test_one_changed_call_beside_others_is_reused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K7: a sibling that changed is sure of it when the others took theirs."""
    monkeypatch.setattr(attempt_module, "UNSURE_SECONDS", 0.05)
    gate, prompt = Gate(), ["v1"]

    async def agent() -> list[str]:
        found = await asyncio.gather(
            model("m", "a", "A"), model("m", f"b {prompt[0]}", f"b {prompt[0]}")
        )
        await gate()
        return [*found]

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    prompt[0] = "v2"
    await house.next_life(worker)
    assert await house.result(run_id) == ["A", "b v1"]
    assert await house.warnings(run_id) == ["changed"]


@pytest.mark.parametrize("promise", [None, "idempotent", "once"])
async def test_a_changed_step_that_may_have_touched_the_world_parks(
    house: House, promise: str | None
) -> None:
    """K7: a tool or step is never matched loosely; an operator decides."""
    gate, argument = Gate(), ["v1"]

    @step(effect=promise)
    async def send(to: str) -> str:
        house.did[to] += 1
        return to

    async def agent() -> str:
        sent = await send(argument[0])
        await gate()
        return sent

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    argument[0] = "v2"
    await house.next_life(worker)
    run = await house.parked(run_id, "diverged")
    assert house.did == {"v1": 1}
    await house.store.resolve(run_id, bytes.fromhex(run.waits[0]["key"]), value=None)
    assert await house.result(run_id) == "v2"
    assert house.did == {"v1": 1, "v2": 1}


async def test_an_operators_answer_ends_the_divergence(house: House) -> None:
    """K7: what the operator said answers what the agent asks for now, in later lives too."""
    first, second, argument = Gate(), Gate(), ["v1"]

    @step(effect="once", name="send")
    async def send(to: str) -> str:
        house.did[to] += 1
        return to

    async def agent() -> str:
        sent = await send(argument[0])
        await first()
        await second()
        return sent

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await first.reached.wait()
    argument[0] = "v2"
    worker = await house.next_life(worker)
    run = await house.parked(run_id, "diverged")
    assert "step 'send' with other arguments than recorded" in (run.waits[0]["detail"] or "")
    key = bytes.fromhex(run.waits[0]["key"])
    await house.store.resolve(run_id, key, value=b'"sent by hand"')
    await second.reached.wait()
    await house.next_life(worker)
    assert await house.result(run_id) == "sent by hand"
    assert house.did == {"v1": 1}


async def test_a_changed_step_that_only_reads_is_performed_as_new(house: House) -> None:
    """K7: ``reads`` cannot have touched the world."""
    gate, argument = Gate(), ["v1"]

    @step(effect="reads")
    async def look(at: str) -> str:
        house.did[at] += 1
        return at

    async def agent() -> str:
        seen = await look(argument[0])
        await gate()
        return seen

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    argument[0] = "v2"
    await house.next_life(worker)
    assert await house.result(run_id) == "v2"


async def test_live_and_replayed_values_are_the_same(house: House) -> None:
    """K8: what an effect returns is always decode(encode(value))."""
    gate = Gate()
    seen: list[list[Any]] = []

    @step
    async def plain() -> Any:
        return {"t": (1, 2), "at": datetime(2026, 1, 2)}

    @step
    async def typed() -> datetime:
        return datetime(2026, 1, 2)

    @step
    def blocking() -> Any:
        return (1, b"x".hex())

    async def agent() -> None:
        seen.append([await plain(), await typed(), await blocking.aio()])  # type: ignore[attr-defined]
        await gate()

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    await house.next_life(worker)
    await house.result(run_id)
    live, replayed = seen
    assert live == replayed
    assert live == [
        {"t": [1, 2], "at": "2026-01-02T00:00:00"}, datetime(2026, 1, 2), [1, "78"],
    ]  # fmt: skip


async def test_large_values_are_loaded_when_asked_for_and_larger_ones_are_blobs(
    house: House, tmp_path: Path
) -> None:
    """Z1: keys first, values lazily; over 256 KiB a value leaves the database."""
    gate = Gate()

    @step
    async def text(size: int) -> str:
        house.did[str(size)] += 1
        return "x" * size

    async def agent() -> list[int]:
        found = [len(await text(n)) for n in (10, 10_000, 300_000)]
        await gate()
        return found

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    small, lazy, blob = await house.entries(run_id)
    assert small.value is not None
    assert lazy.value is None
    assert lazy.size == 10_002
    assert blob.value is not None
    assert blob.value[:1] == b"\x01"
    assert len([f for f in (tmp_path / "blobs").rglob("*") if f.is_file()]) == 1
    await house.next_life(worker)
    assert await house.result(run_id) == [10, 10_000, 300_000]
    assert set(house.did.values()) == {1}


async def test_large_inputs_and_results_are_blobs(house: House) -> None:
    """Z1: at both ends of a run too."""

    async def agent(text: str) -> str:
        return text + "!"

    house.serve(agent)
    await house.worker()
    value = perdure.codec.encode("y" * 300_000)
    reference = house.blobs.put(value)
    run_id = await house.submit("agent", "small")
    assert await house.result(run_id) == "small!"
    from uuid import uuid4

    from perdure.store.rows import NewRun

    big = str(uuid4())
    await house.store.enqueue([NewRun(big, "agent", reference, queue="agent")])
    assert await house.result(big) == "y" * 300_000 + "!"
    run = await house.store.get(big)
    assert run.result is not None
    assert run.result[:1] == b"\x01"


async def test_requests_are_stored_once_as_a_chain(house: House) -> None:
    """Z1: a chat that grows stores each message once; it can be read back from its tip."""

    async def agent() -> None:
        run = boundary()
        assert run is not None
        chat = [b"system", b"hello"]
        for turn in range(3):
            ticket = await run.request(Kind.MODEL, "m", digest(b"|".join(chat)))
            await ticket.done(b'"ok"', request=chat)
            chat = [*chat, b"ok", f"more {turn}".encode()]

    house.serve(agent)
    house.serve(agent, name="forgetful", requests=False)
    await house.worker()
    run_id = await house.submit("agent")
    await house.result(run_id)
    tips = [e.request for e in await house.log(run_id, "entry")]
    assert all(tips)
    messages = await house.store.get_messages(run_id, tips[-1] or b"")
    assert messages == [b"system", b"hello", b"ok", b"more 0", b"ok", b"more 1"]
    assert await house.store.get_messages(run_id, tips[0] or b"") == messages[:2]
    other = await house.submit("forgetful")
    await house.result(other)
    assert [e.request for e in await house.log(other, "entry")] == [None] * 3


async def test_clock_and_randomness_are_recorded(house: House) -> None:
    """A replay sees the same time and the same random numbers."""
    gate = Gate()
    seen: list[tuple[Any, ...]] = []

    async def agent() -> None:
        seen.append((perdure.now(), perdure.uuid4(), perdure.uuid4()))
        await gate()

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    await house.until_entries(run_id, 3)
    await house.next_life(worker)
    await house.result(run_id)
    assert seen[0] == seen[1]
    assert seen[0][1] != seen[0][2]


async def test_clock_and_randomness_are_never_a_divergence(house: House) -> None:
    """K7 is about tools, steps and models: a branch whose clock was not recorded yet must not
    take, or overwrite, what a sibling recorded at the same place."""
    gate = Gate()

    @step
    async def work(name: str) -> str:
        house.did[name] += 1
        if name == "late":
            await gate()
        return name

    async def straight() -> str:
        return await work("early")

    async def by_the_clock() -> str:
        if gate.reached.is_set():
            perdure.now()  # a line that the next deploy brought
        return await work("late")

    async def agent() -> list[str]:
        return [*await asyncio.gather(by_the_clock(), straight())]

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    await house.until_entries(run_id, 1)
    await house.next_life(worker)
    assert await house.result(run_id) == ["late", "early"]
    assert house.did == {"late": 2, "early": 1}
    assert [len(e.key) for e in await house.entries(run_id)] == [12, 12, 12]


async def test_an_idempotency_key_is_the_same_in_every_attempt(house: House) -> None:
    """P1: ``idempotent`` runs again with the same key."""
    gate = Gate()
    keys: list[str] = []

    @tool(effect="idempotent")
    async def pay(to: str) -> str:
        keys.append(perdure.idempotency_key())
        if to == "b":
            await gate()
        return to

    async def agent() -> None:
        for to in ("a", "b", "a"):
            await pay(to)

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    await house.next_life(worker)
    await house.result(run_id)
    a, b, b_again, a_second = keys
    assert b == b_again
    assert len({a, b, a_second}) == 3
    assert all(run_id in key for key in keys)
    assert await house.warnings(run_id) == []


async def test_current_tells_about_the_run(house: House) -> None:
    gate = Gate()
    seen: list[tuple[int, int, bool]] = []

    @step
    async def work() -> None: ...

    async def agent() -> str:
        await work()
        now = perdure.current()
        seen.append((now.attempt, now.epoch, now.replaying))
        assert perdure.in_run()
        await gate()
        return f"{now.agent} {now.tenant} {now.session} {now.labels} {now.depth}"

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent", tenant="t", session="s", labels={"a": "b"})
    await gate.reached.wait()
    await house.next_life(worker)
    assert await house.result(run_id) == "agent t s {'a': 'b'} 0"
    assert seen == [(1, 1, False), (1, 2, False)]  # a crash is no failure of the run
    assert not perdure.in_run()


async def test_the_gateway_is_told_whose_a_call_is(house: House) -> None:
    async def agent() -> list[Any]:
        place = current_boundary.get()
        assert place is not None
        return [place.about.agent, place.about.tenant, place.about.priority]

    house.serve(agent, priority=1)
    await house.worker()
    run_id = await house.submit("agent", tenant="t", priority=4)
    assert await house.result(run_id) == ["agent", "t", 4]


async def test_events_of_a_replay(house: House) -> None:
    """E1: replayed effects append no deltas, ``emit`` is keyed, ``attempt.started`` is told."""
    gate = Gate()

    async def agent() -> None:
        run = boundary()
        assert run is not None
        ticket = await run.request(Kind.MODEL, "m", digest(b"?"), streamed=True)
        if ticket.live:
            for word in ("a", "b"):
                ticket.delta(perdure.codec.encode(word))
            await ticket.done(b'"ab"')
        perdure.emit("progress", {"at": 1})
        perdure.emit("large", "x" * 20_000)
        await step_after()
        await gate()
        perdure.emit("progress", {"at": 2})

    @step
    async def step_after() -> None: ...

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    await house.next_life(worker)
    await house.result(run_id)
    assert [payload(e) for e in await house.log(run_id, "delta")] == [["a", "b"]]
    emitted = [e for e in await house.log(run_id, "entry") if e.kind == Kind.EMIT]
    assert [e.name for e in emitted] == ["progress", "large", "progress"]
    started = await house.log(run_id, "attempt.started")
    assert [e.epoch for e in started] == [1, 2]
    assert [payload(e)["attempt"] for e in started] == [1, 1]
    # It comes before whatever its attempt writes.
    log = await house.log(run_id)
    second = next(e.seq for e in started if e.epoch == 2)
    assert all(e.seq >= second for e in log if e.epoch == 2 and e.type != "status")
    assert len(await house.log(run_id, "effect.started")) == 1


async def test_streamed_output_is_not_told_twice(house: House) -> None:
    """E1: what a streaming agent yields while it replays was seen already."""
    gate = Gate()

    @step
    async def work(n: int) -> int:
        return n

    async def agent() -> Any:
        for n in range(4):
            yield str(await work(n))
            if n == 1:
                await work(99)
                await gate()

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    await house.next_life(worker)
    assert await house.result(run_id) == "0123"
    pieces = [p for e in await house.log(run_id, "delta") for p in payload(e)]
    assert pieces == ["0", "1", "2", "3"]


async def test_emit_refuses_what_is_too_large_for_an_event(house: House) -> None:
    async def agent() -> str:
        with pytest.raises(perdure.errors.TooLarge):
            perdure.emit("all", "x" * 300_000)
        return "went on"

    house.serve(agent)
    await house.worker()
    assert await house.run("agent") == "went on"


def test_emit_outside_a_run_does_nothing() -> None:
    perdure.emit("nothing", {})
