"""Plain agents of every kind, and how a run's input becomes their arguments."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from pydantic import BaseModel

from perdure import step
from perdure.errors import InvalidInput
from perdure.runtime.agent import from_function
from tests.unit.runtime.harness import House, texts


class Question(BaseModel):
    text: str
    times: int = 1


@dataclass
class Answer:
    text: str
    at: datetime


@step
def shout(text: str) -> str:
    return text.upper()


async def test_async_agent_with_one_input(house: House) -> None:
    async def agent(name: str) -> str:
        return f"hello {name}"

    house.serve(agent)
    await house.worker()
    assert await house.run("agent", "you") == "hello you"


async def test_agent_without_input(house: House) -> None:
    async def agent() -> int:
        return 7

    house.serve(agent)
    await house.worker()
    assert await house.run("agent", {"ignored": True}) == 7


async def test_agent_with_many_parameters_takes_an_object(house: House) -> None:
    async def agent(city: str, days: int = 2, *, unit: str = "C") -> str:
        return f"{city} {days} {unit}"

    house.serve(agent)
    await house.worker()
    assert await house.run("agent", {"city": "Rome", "unit": "F"}) == "Rome 2 F"
    # Only one is required, so a bare value is meant for it.
    assert await house.run("agent", "Oslo") == "Oslo 2 C"


async def test_input_that_does_not_fit_is_the_runs_own_final_failure(house: House) -> None:
    async def agent(a: int, b: int) -> int:
        return a + b

    house.serve(agent)
    await house.worker()
    for value in ({"a": 1}, {"a": 1, "b": 2, "c": 3}, 5, {"a": 1, "b": "two"}):
        run = await house.until(await house.submit("agent", value))
        assert run.state.value == "failed"
        assert run.error is not None
        assert run.error["code"] == "invalid_input"


async def test_sync_agent_runs_in_a_thread(house: House) -> None:
    def agent(text: str) -> str:
        return shout(text) + shout("!")

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent", "hey")
    assert await house.result(run_id) == "HEY!"
    assert len(await house.entries(run_id)) == 2


async def test_async_generator_streams(house: House) -> None:
    async def agent(n: int) -> AsyncIterator[str]:
        for i in range(n):
            yield str(i)

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent", 3)
    assert await house.result(run_id) == "012"
    assert texts(await house.log(run_id, "delta")) == ["0", "1", "2"]


async def test_async_generator_of_things_gives_a_list(house: House) -> None:
    async def agent() -> AsyncIterator[Any]:
        yield {"a": 1}
        yield "b"

    house.serve(agent)
    await house.worker()
    assert await house.run("agent") == [{"a": 1}, "b"]


async def test_objects_with_call(house: House) -> None:
    class Async:
        async def __call__(self, question: Question) -> str:
            return question.text * question.times

    class Sync:
        def __call__(self, text: str) -> str:
            return shout(text)

    class Stream:
        async def __call__(self, text: str) -> AsyncIterator[str]:
            yield text
            yield "."

    class Bound:
        async def method(self, text: str) -> str:
            return text[::-1]

    house.serve(Async())
    house.serve(Sync())
    house.serve(Stream(), name="stream")
    house.serve(Bound().method)
    await house.worker()
    assert await house.run("Async", {"text": "ab", "times": 2}) == "abab"
    assert await house.run("Sync", "x") == "X"
    assert await house.run("stream", "x") == "x."
    assert await house.run("method", "abc") == "cba"


async def test_partials_and_functions_that_give_a_coroutine(house: House) -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    def undecorated(*args: Any) -> Any:
        return add(args[0], 1)

    house.serve(functools.partial(add, 1), name="partial")
    house.serve(undecorated)
    await house.worker()
    assert await house.run("partial", 2) == 3
    assert await house.run("undecorated", 2) == 3
    assert from_function(functools.partial(add, 1)).name == "add"


async def test_pydantic_and_dataclass_round_trip(house: House) -> None:
    async def agent(question: Question) -> Answer:
        assert isinstance(question, Question)
        return Answer(question.text * question.times, datetime(2026, 1, 2))

    house.serve(agent)
    await house.worker()
    result = await house.run("agent", {"text": "a", "times": 3})
    assert result == {"text": "aaa", "at": "2026-01-02T00:00:00"}


async def test_many_typed_parameters_are_typed(house: House) -> None:
    async def agent(question: Question, at: datetime) -> list[str]:
        return [type(question).__name__, type(at).__name__]

    house.serve(agent)
    await house.worker()
    value = {"question": {"text": "?"}, "at": "2026-01-02T00:00:00Z"}
    assert await house.run("agent", value) == ["Question", "datetime"]


async def test_a_result_that_is_no_json_fails_with_a_hint(house: House) -> None:
    async def agent() -> Any:
        return {"when": object()}

    house.serve(agent)
    await house.worker()
    run = await house.until(await house.submit("agent"))
    assert run.state.value == "failed"
    assert run.error is not None
    assert run.error["code"] == "codec"
    assert ".when" in run.error["message"]


def test_inputs_can_be_refused_early() -> None:
    def agent(a: int, b: str = "x") -> None: ...

    served = from_function(agent)
    served.validate(b'{"a": 1}')
    for data in (b'{"a": "one"}', b'{"c": 1}'):
        with pytest.raises(InvalidInput):
            served.validate(data)


def test_the_schema_comes_from_annotations() -> None:
    def one(question: Question) -> None: ...
    def two(a: int, b: str = "x") -> None: ...
    def none(a, b): ...  # type: ignore[no-untyped-def]

    one_schema = from_function(one).schema
    two_schema = from_function(two).schema
    none_schema = from_function(none).schema
    assert one_schema is not None
    assert two_schema is not None
    assert none_schema is not None
    assert (one_schema() or {})["required"] == ["text"]
    assert two_schema() == {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
        "required": ["a"],
    }
    assert none_schema() is None


async def test_sys_exit_in_an_agent_ends_the_run_and_not_the_worker(house: House) -> None:
    async def quits() -> None:
        raise SystemExit(3)

    def quits_in_a_thread() -> None:
        raise SystemExit(3)

    async def fine() -> int:
        return 1

    house.serve(quits)
    house.serve(quits_in_a_thread)
    house.serve(fine)
    await house.worker()
    for name in ("quits", "quits_in_a_thread"):
        run = await house.until(await house.submit(name))
        assert run.state.value == "failed"
        assert run.error is not None
        assert "SystemExit" in run.error["type"]
    assert await house.run("fine") == 1


def test_no_input_is_the_default_or_refused() -> None:
    def needs(city: str) -> str:
        return city

    def offers(city: str = "Lisbon") -> str:
        return city

    def may(city: str | None) -> str | None:
        return city

    with pytest.raises(InvalidInput, match="'needs' takes a string, and got no input"):
        from_function(needs).validate(b"null")
    for function, args in ((offers, ()), (may, (None,))):
        check = from_function(function).check
        assert check is not None
        assert check(None) == (args, {})


def test_what_is_wrong_is_said_in_the_words_of_json() -> None:
    def count(number: int) -> int:
        return number

    def pair(one: int, two: int) -> int:
        return one + two

    with pytest.raises(InvalidInput, match="takes an integer, not a string"):
        from_function(count).validate(b'"5"')
    with pytest.raises(InvalidInput, match=r"an object with \['one', 'two'\], not null"):
        from_function(pair).validate(b"null")
