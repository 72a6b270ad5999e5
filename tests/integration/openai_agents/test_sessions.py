"""Sessions of the SDK: a replay sees the conversation as it was, and appends nothing twice."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, Runner, SQLiteSession, function_tool

from perdure.app import App
from perdure.frameworks.openai_agents import Configured
from perdure.testing.simulator import Call, Reply
from tests.integration.openai_agents.conftest import Provide, Tally, noting
from tests.running import Ground


def texts(items: list[Any]) -> list[str]:
    """What was said, in short."""
    return [str(item.get("role") or item["type"]) for item in items]


@pytest.mark.parametrize("plain", [False, True])
async def test_a_conversation_is_kept_once(
    ground: Ground, provide: Provide, tally: Tally, tmp_path: Path, plain: bool
) -> None:
    @function_tool
    async def hold() -> str:
        """Stands still."""
        await tally.note("hold")
        return "ok"

    calls: list[Call] = []
    provider = provide(noting(calls, Reply(tools=[("hold", {})]), "first answer", "second answer"))
    agent = Agent(name="chat", tools=[hold], model="gpt-5")

    def session(name: str) -> SQLiteSession:
        return SQLiteSession(name, tmp_path / "chat.db")

    app = App()
    if plain:

        @app.agent(name="chat")
        async def chat(text: str) -> Any:
            result = await Runner.run(agent, text, session=session("ann"))
            return result.final_output

    else:
        app.add(Configured(agent, session=session))
    tally.hold("hold")
    await ground.begin(app)
    run = await ground.start("chat", "hello", session="ann")
    await tally.reached("hold")
    await ground.stop()
    tally.release("hold")
    await ground.begin(app)
    assert await ground.result(run) == "first answer"
    kept = await session("ann").get_items()
    assert texts(kept) == ["user", "function_call", "function_call_output", "assistant"]
    run = await ground.start("chat", "and now?", session="ann")
    assert await ground.result(run) == "second answer"
    assert [m.text for m in calls[-1].messages if m.role == "user"][::2][-1]
    kept = await session("ann").get_items()
    assert texts(kept)[4:] == ["user", "assistant"]
    assert not provider.counts().repeated


@pytest.mark.parametrize("written", [True, False])
async def test_an_append_that_was_cut_is_looked_for(
    ground: Ground, provide: Provide, tally: Tally, tmp_path: Path, written: bool
) -> None:
    class Slow(SQLiteSession):
        async def add_items(self, items: list[Any]) -> None:
            if tally.count("add") or written:
                await super().add_items(items)
            await tally.note("add")

    agent = Agent(name="chat", model="gpt-5")
    provide("hello")
    app = App()
    app.add(Configured(agent, session=lambda name: Slow(name, tmp_path / "chat.db")))
    tally.hold("add")
    await ground.begin(app)
    run = await ground.start("chat", "hello", session="ann")
    await tally.reached("add")
    await ground.stop()
    tally.release("add")
    ground.store.shift_clock(timedelta(minutes=1))
    await ground.begin(app)
    assert await ground.result(run) == "hello"
    kept = await SQLiteSession("ann", tmp_path / "chat.db").get_items()
    assert texts(kept) == ["user", "assistant"]
