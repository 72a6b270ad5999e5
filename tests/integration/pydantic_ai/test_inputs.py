"""Inputs in the shapes of ``agent.run``; where dependencies come from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, RunContext
from pydantic_ai.agent import WrapperAgent

from perdure import codec
from perdure.app import App
from perdure.errors import ConfigError, InvalidInput, TargetError
from perdure.frameworks.pydantic_ai import Configured
from perdure.testing.simulator import Call
from tests.integration.pydantic_ai.conftest import CLAUDE, noting
from tests.integration.stage import Provide, emitted
from tests.running import Ground


async def test_a_conversation(ground: Ground, provide: Provide) -> None:
    seen: list[Call] = []
    provide(noting(seen, "I am fine.", "As I said."))
    app = App()
    app.add(Agent(CLAUDE, name="a"))
    await ground.begin(app)
    first = await ground.start("a", "How are you?")
    assert await ground.result(first) == "I am fine."
    (state,) = await emitted(ground, first, "state")
    assert state["name"] == "messages"
    second = await ground.start("a", {"user_prompt": "Really?", "message_history": state["update"]})
    await ground.result(second)
    assert [m.role for m in seen[-1].messages] == ["user", "assistant", "user"]


async def test_text_and_files(ground: Ground, provide: Provide) -> None:
    seen: list[Call] = []
    provide(noting(seen, "A cat."))
    app = App()
    app.add(Agent(CLAUDE, name="a"))
    await ground.begin(app)
    image = {"kind": "image-url", "url": "https://example.com/cat.png"}
    run = await ground.start("a", {"user_prompt": ["What is it?", image]})
    assert await ground.result(run) == "A cat."
    assert "kind='image'" in str(seen[-1].messages)


class Person(BaseModel):
    name: str


def greeter(deps_type: Any = Person) -> Agent[Any, str]:
    agent = Agent(CLAUDE, name="greeter", deps_type=deps_type)

    @agent.instructions
    def instructions(ctx: RunContext[Any]) -> str:
        return f"You speak with {ctx.deps.name}."

    return agent


async def test_deps_of_the_input(ground: Ground, provide: Provide) -> None:
    seen: list[Call] = []
    provide(noting(seen, "Hello."))
    app = App()
    app.add(greeter())
    agent = app.agents["greeter"]
    await ground.begin(app)
    run = await ground.start("greeter", {"user_prompt": "Hi.", "deps": {"name": "Ada"}})
    await ground.result(run)
    assert "You speak with Ada." in str(seen[-1].system)
    for wrong in ("Hi.", {"user_prompt": "Hi.", "deps": {"nam": "Ada"}}):
        with pytest.raises(InvalidInput, match="deps"):
            agent.validate(codec.encode(wrong))
    assert agent.schema is not None
    schema = agent.schema()
    assert schema is not None
    assert schema["required"] == ["deps"]
    assert schema["properties"]["deps"]["properties"]["name"] == {"title": "Name", "type": "string"}


class Connection:
    """Nothing that JSON could say."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = False


opened: list[Connection] = []


def make() -> Connection:
    opened.append(Connection("made"))
    return opened[-1]


async def make_async(person: Person) -> Connection:
    opened.append(Connection(person.name))
    return opened[-1]


@asynccontextmanager
async def make_open(name: str = "nobody") -> AsyncIterator[Connection]:
    opened.append(Connection(name))
    yield opened[-1]
    opened[-1].closed = True


@pytest.mark.parametrize(
    ("factory", "deps", "name", "closed"),
    [
        (make, None, "made", False),
        (make_async, {"name": "Ada"}, "Ada", False),
        (make_open, "Bob", "Bob", True),
        (make_open, None, "nobody", True),
    ],
)
async def test_deps_of_a_function(
    ground: Ground, provide: Provide, factory: Any, deps: Any, name: str, closed: bool
) -> None:
    opened.clear()
    seen: list[Call] = []
    provide(noting(seen, "Hello."))
    app = App()
    app.add(Configured(greeter(Connection), deps=factory))
    await ground.begin(app)
    given = {"deps": deps} if deps is not None else {}
    run = await ground.start("greeter", {"user_prompt": "Hi.", **given})
    await ground.result(run)
    assert f"You speak with {name}." in str(seen[-1].system)
    (connection,) = opened
    assert connection.closed is closed


async def test_deps_that_come_from_nowhere(provide: Provide) -> None:
    with pytest.raises(ConfigError, match="needs deps of the type 'Connection'"):
        App().add(greeter(Connection))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "takes a string or an object"),
        ({}, "was asked nothing"),
        ({"prompt": "Hi."}, "no input 'prompt'"),
        ({"user_prompt": 5}, "user_prompt"),
        ({"user_prompt": "Hi.", "message_history": [{"kind": "gossip"}]}, "message_history"),
        ({"user_prompt": "Hi.", "deps": 1}, "no input 'deps'"),
    ],
)
async def test_inputs_that_are_none(provide: Provide, value: Any, message: str) -> None:
    app = App()
    app.add(Agent(CLAUDE, name="a"))
    with pytest.raises(InvalidInput, match=message):
        app.agents["a"].validate(codec.encode(value))


async def test_wrapped_agents_and_no_agents(ground: Ground, provide: Provide) -> None:
    provide("Hello.")
    app = App()
    app.add(WrapperAgent(Agent(CLAUDE, name="inner")), name="outer")
    await ground.begin(app)
    assert await ground.result(await ground.start("outer", "Hi.")) == "Hello."
    with pytest.raises(TargetError, match="but no agent"):
        App().add(RunContext(deps=None, model=None, usage=None))  # type: ignore[arg-type]
