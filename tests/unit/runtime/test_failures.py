"""Failures: which are replayed, as what, and what becomes of the run (F1-F3)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

import perdure
from perdure import RetryPolicy, step
from perdure.core.charge import Charge
from perdure.errors import EffectFailed
from perdure.store.rows import LogRow, Message, Refusal
from tests.unit.runtime.harness import AT_ONCE, House, turns


class Unlucky(Exception):
    """Not importable by name from elsewhere; found because this module is imported."""


async def test_a_retried_attempt_tries_the_failed_step_again(house: House) -> None:
    """F1: settling a failed attempt voids its failures, so that a retry tries them again."""

    @step
    async def flaky() -> str:
        house.did["flaky"] += 1
        if house.did["flaky"] < 3:
            raise Unlucky("no")
        return "at last"

    @step
    async def before() -> None:
        house.did["before"] += 1

    async def agent() -> str:
        await before()
        return await flaky()

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    assert await house.result(run_id) == "at last"
    assert house.did == {"before": 1, "flaky": 3}
    run = await house.store.get(run_id)
    assert run.attempts == 2
    states = [s for _, s in await house.states(run_id)]
    assert states == ["done", "failed", "void", "failed", "void", "done"]


async def test_a_failure_the_agent_went_on_after_is_replayed(house: House) -> None:
    """F1, F2: as the original exception class, and the step is not performed again."""

    seen: list[BaseException] = []

    @step
    async def fails() -> None:
        house.did["fails"] += 1
        raise Unlucky("first", 2)

    @step
    async def instead() -> str:
        house.did["instead"] += 1
        return "instead"

    async def agent() -> str:
        try:
            await fails()
        except Unlucky as error:
            seen.append(error)
        answer = await instead()
        if len(seen) == 1:
            raise ConnectionError("after it")
        return answer

    house.serve(agent)
    await house.worker()
    assert await house.run("agent") == "instead"
    assert house.did == {"fails": 1, "instead": 1}
    assert [error.args for error in seen] == [("first", 2), ("first", 2)]


async def test_a_crash_voids_a_failure_nobody_went_on_after(house: House) -> None:
    """F1: without a settlement too: the last failure of a branch is not replayed."""
    reached = asyncio.Event()

    @step
    async def fails() -> str:
        house.did["fails"] += 1
        if house.did["fails"] == 1:
            raise Unlucky("once")
        return "fine"

    async def agent() -> str:
        try:
            return await fails()
        except Unlucky:
            reached.set()
            await asyncio.Event().wait()
            return "never"

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await reached.wait()
    await house.next_life(worker)
    assert await house.result(run_id) == "fine"


async def test_what_a_sibling_does_says_nothing_about_a_failure(house: House) -> None:
    """F1: only a later request of the same branch, or of one that joined it."""

    failed = asyncio.Event()

    @step
    async def work(name: str) -> str:
        house.did[name] += 1
        if name == "fails" and house.did[name] == 1:
            failed.set()
            raise Unlucky("once")
        return name

    async def bad() -> str:
        return await work("fails")

    async def good() -> str:
        await failed.wait()
        return await work("1") + await work("2")

    async def agent() -> list[Any]:
        first, second = await asyncio.gather(bad(), good(), return_exceptions=True)
        if isinstance(first, Exception):
            raise first
        return [first, second]

    house.serve(agent)
    await house.worker()
    assert await house.run("agent") == ["fails", "12"]
    assert house.did == {"fails": 2, "1": 1, "2": 1}


async def test_a_failure_in_a_branch_is_dealt_with_by_who_joined_it(house: House) -> None:
    """F1: the branch it was forked from goes on."""
    attempts = 0

    @step
    async def work(name: str) -> str:
        house.did[name] += 1
        if name == "fails":
            raise Unlucky("always")
        return name

    async def agent() -> list[str]:
        nonlocal attempts
        attempts += 1
        found = await asyncio.gather(work("a"), work("fails"), return_exceptions=True)
        last = await work("after")
        if attempts == 1:
            raise ConnectionError("later")
        return [*map(str, found), last]

    house.serve(agent)
    await house.worker()
    assert await house.run("agent") == ["a", "always", "after"]
    assert house.did == {"a": 1, "fails": 1, "after": 1}


async def test_a_failure_of_an_unknown_class_names_it(house: House) -> None:
    """F2: never imported by name; EffectFailed says what it was."""
    seen: list[BaseException] = []

    class Local(Exception):
        """Nobody can find it: it is no attribute of its module."""

    @step
    async def fails() -> None:
        raise Local("hidden")

    @step
    async def more() -> None: ...

    async def agent() -> None:
        try:
            await fails()
        except Exception as error:
            seen.append(error)
        await more()
        if len(seen) == 1:
            raise ConnectionError("again")

    house.serve(agent)
    await house.worker()
    await house.run("agent")
    assert isinstance(seen[0], Local)
    assert isinstance(seen[1], EffectFailed)
    assert "Local: hidden" in str(seen[1])


async def test_failing_agents_are_retried_with_back_off_then_dead(house: House) -> None:
    """Attempts are used up: dead; each waits for its time."""

    async def agent() -> None:
        house.did["tries"] += 1
        raise ConnectionError(f"try {house.did['tries']}")

    policy = RetryPolicy(attempts=3, base=timedelta(hours=1), cap=timedelta(hours=1))
    house.serve(agent, retry=policy)
    await house.worker()
    run_id = await house.submit("agent")
    for failures in (1, 2):
        run = await house.when(run_id, lambda r, n=failures: r.attempts == n)  # type: ignore[misc]
        assert run.state.value == "waiting"
        assert run.waits[0]["reason"] == "retry"
        assert f"try {failures}" in run.waits[0]["detail"]
        await house.pass_time(timedelta(hours=1))
    run = await house.until(run_id)
    assert (run.state.value, run.attempts) == ("dead", 3)
    assert run.error is not None
    assert run.error["message"] == "try 3"
    assert house.did["tries"] == 3


@pytest.mark.parametrize("error", [TypeError("bug"), perdure.errors.InvalidInput("bad")])
async def test_errors_that_stay_the_same_are_the_runs_own_final_word(
    house: House, error: Exception
) -> None:
    async def agent() -> None:
        house.did["tries"] += 1
        raise error

    house.serve(agent)
    await house.worker()
    run = await house.until(await house.submit("agent"))
    assert run.state.value == "failed"
    assert house.did["tries"] == 1


async def test_policy_says_what_is_fatal_besides(house: House) -> None:
    async def agent() -> None:
        house.did["tries"] += 1
        raise Unlucky("no use")

    house.serve(agent, fatal=(Unlucky,))
    await house.worker()
    assert (await house.until(await house.submit("agent"))).state.value == "failed"
    assert house.did["tries"] == 1


async def test_a_runs_own_limit_of_attempts_counts_too(house: House) -> None:
    async def agent() -> None:
        house.did["tries"] += 1
        raise ConnectionError

    house.serve(agent, retry=RetryPolicy(attempts=9, base=timedelta(0), cap=timedelta(0)))
    await house.worker()
    run = await house.until(await house.submit("agent", max_attempts=2))
    assert (run.state.value, house.did["tries"]) == ("dead", 2)


async def test_an_error_of_the_agent_that_is_no_exception_fails_the_run(house: House) -> None:
    """Libraries raise BaseExceptions of their own; the run must not hang for it."""

    class Outcome(BaseException):
        pass

    async def agent() -> None:
        raise Outcome("odd")

    house.serve(agent)
    await house.worker()
    run = await house.until(await house.submit("agent"))
    assert run.state.value == "dead"
    assert run.error is not None
    assert run.error["message"] == "odd"


async def test_a_cancellation_of_the_agents_own_making_is_a_failure(house: House) -> None:
    """Nobody cancelled the run: it must not stay leased for ever."""

    async def agent() -> None:
        other = asyncio.ensure_future(asyncio.Event().wait())
        other.cancel()
        await other

    house.serve(agent)
    await house.worker()
    run = await house.until(await house.submit("agent"))
    assert run.state.value == "dead"
    assert run.error is not None
    assert "CancelledError" in run.error["type"]


async def test_an_effect_the_agent_gave_up_is_abandoned(house: House) -> None:
    """F3: its own timeout. On replay it does not go out: it blocks until cancelled again."""
    cut = asyncio.Event()

    @step
    async def slow() -> str:
        house.did["slow"] += 1
        await asyncio.Event().wait()
        return "never"

    @step
    async def fallback() -> str:
        house.did["fallback"] += 1
        return "fallback"

    async def agent() -> str:
        try:
            async with asyncio.timeout(0.02):
                return await slow()
        except TimeoutError:
            found = await fallback()
        if not cut.is_set():
            cut.set()
            await asyncio.Event().wait()
        return found

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await cut.wait()
    assert [s for _, s in await house.states(run_id)] == ["abandoned", "done"]
    await house.next_life(worker)
    assert await house.result(run_id) == "fallback"
    assert house.did == {"slow": 1, "fallback": 1}
    assert [s for _, s in await house.states(run_id)] == ["abandoned", "done"]


async def test_the_loser_of_a_race_is_abandoned_too(house: House) -> None:
    """F3: and the winner is the same again."""
    cut = asyncio.Event()

    @step
    async def run(name: str) -> str:
        house.did[name] += 1
        if name == "slow":
            await asyncio.Event().wait()
        return name

    async def agent() -> str:
        tasks = [asyncio.ensure_future(run(n)) for n in ("slow", "fast")]
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await asyncio.wait(rest)
        winner = await run("after " + done.pop().result())
        if not cut.is_set():
            cut.set()
            await asyncio.Event().wait()
        return winner

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await cut.wait()
    await house.next_life(worker)
    assert await house.result(run_id) == "after fast"
    assert house.did == {"slow": 1, "fast": 1, "after fast": 1}


async def test_an_abandoned_effect_that_is_not_given_up_again_goes_out(house: House) -> None:
    """F3: when its recorded duration is over; and what was done inside it is not done again."""
    lives = 0
    cut = asyncio.Event()

    @step
    async def inner() -> str:
        house.did["inner"] += 1
        return "inner"

    @step
    async def outer() -> str:
        house.did["outer"] += 1
        found = await inner()
        if lives == 1:
            await asyncio.Event().wait()
        return found + " outer"

    @step
    async def last() -> None:
        house.did["last"] += 1

    async def agent() -> str:
        nonlocal lives
        lives += 1
        found = "nothing"
        try:
            async with asyncio.timeout(0.02 if lives == 1 else None):
                found = await outer()
        except TimeoutError:
            pass
        await last()
        if lives == 1:
            cut.set()
            await asyncio.Event().wait()
        return found

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await cut.wait()
    await house.next_life(worker)
    assert await house.result(run_id) == "inner outer"
    assert house.did == {"inner": 1, "outer": 2, "last": 1}


async def test_a_prompt_that_changed_after_a_timeout_is_still_at_its_place(house: House) -> None:
    """F3, K4: what comes after an abandoned effect comes after it in a replay too."""
    from tests.unit.runtime.test_replay import Gate, model

    gate, prompt = Gate(), ["v1"]

    @step
    async def slow() -> None:
        await asyncio.Event().wait()

    @step
    async def first() -> None: ...

    async def agent() -> str:
        await first()
        try:
            async with asyncio.timeout(0.02):
                await slow()
        except TimeoutError:
            answer = await model("m", prompt[0], f"to {prompt[0]}")
        await gate()
        return str(answer)

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    prompt[0] = "v2"
    await house.next_life(worker)
    assert await house.result(run_id) == "to v1"
    assert await house.warnings(run_id) == ["changed"]


async def test_an_effect_given_up_while_it_is_recorded_is_never_repeated(house: House) -> None:
    """F3, P1: it happened, so a replay that has more patience gets what it gave."""
    lives = 0
    cut = asyncio.Event()

    @step(effect="once")
    async def pay() -> str:
        house.did["pay"] += 1
        return "receipt"

    @step
    async def after() -> None: ...

    async def agent() -> str:
        nonlocal lives
        lives += 1
        found = "none"
        task = asyncio.ensure_future(pay())
        if lives == 1:
            give_up_when_done(house, task)
        try:
            found = await task
        except asyncio.CancelledError:
            await after()
        if lives == 1:
            cut.set()
            await asyncio.Event().wait()
        return found

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await cut.wait()
    assert [s for n, s in await house.states(run_id) if n.endswith("pay")] == [
        "intent", "done", "abandoned",
    ]  # fmt: skip
    await house.next_life(worker)
    assert await house.result(run_id) == "receipt"
    assert house.did == {"pay": 1}


def give_up_when_done(house: House, task: asyncio.Task[Any]) -> None:
    """Cancel the task while its outcome is on its way to the store."""
    record = house.store.record

    async def slowly(
        rows: Sequence[LogRow],
        charges: Sequence[Charge] = (),
        messages: Sequence[Message] = (),
    ) -> list[Refusal]:
        if any(row.record.state == "done" for row in rows) and not task.done():
            task.cancel()
            await turns()
        return await record(rows, charges, messages)

    house.store.record = slowly  # type: ignore[method-assign]


async def test_retries_inside_one_attempt(house: House) -> None:
    """The failures between are not recorded; the last one is."""

    @step(retries=AT_ONCE)
    async def flaky(limit: int) -> int:
        house.did[str(limit)] += 1
        if house.did[str(limit)] < limit:
            raise ConnectionError("not yet")
        return house.did[str(limit)]

    @step
    async def after() -> None: ...

    async def agent() -> list[Any]:
        found: list[Any] = [await flaky(3)]
        try:
            await flaky(5)
        except ConnectionError as error:
            found.append(str(error))
        await after()
        return found

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    assert await house.result(run_id) == [3, "not yet"]
    assert house.did == {"3": 3, "5": 3}
    assert [s for _, s in await house.states(run_id)] == ["done", "failed", "done"]


async def test_errors_of_the_code_itself_are_not_retried(house: House) -> None:
    @step(retries=AT_ONCE)
    async def broken() -> None:
        house.did["broken"] += 1
        raise TypeError("bug")

    async def agent() -> None:
        await broken()

    house.serve(agent)
    await house.worker()
    assert (await house.until(await house.submit("agent"))).state.value == "failed"
    assert house.did["broken"] == 1


async def test_a_failure_whose_message_is_no_text_is_recorded_all_the_same(house: House) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    @step
    async def lone() -> None:
        raise ConnectionError("half a pair: \ud800")

    @step
    async def odd() -> None:
        raise Odd

    @step
    async def after() -> None: ...

    async def agent() -> list[str]:
        found = []
        for fails in (lone, odd):
            try:
                await fails()
            except Exception as error:
                found.append(type(error).__name__)
        await after()
        return found

    house.serve(agent)
    await house.worker()
    assert await house.run("agent") == ["ConnectionError", "Odd"]
