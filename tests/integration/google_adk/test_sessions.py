"""A session service of the user's own is read once and written once in a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.adk.agents import LlmAgent
from google.adk.runners import Runner
from google.adk.sessions.sqlite_session_service import SqliteSessionService

from perdure.app import App
from perdure.testing.simulator import Call, Reply
from tests.integration.google_adk.conftest import GEMINI
from tests.integration.stage import Provide, Tally
from tests.running import Ground

# ADK and google-genai warn of what they do themselves.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


async def test_a_conversation_that_the_users_own_service_keeps(
    ground: Ground, tally: Tally, provide: Provide, tmp_path: Path
) -> None:
    heard: list[list[str]] = []

    def brain(call: Call) -> Reply:
        heard.append([m.text for m in call.messages if m.text])
        if call.messages[-1].role != "tool":
            return Reply(tools=[("look", {"n": len(heard)})])
        return Reply(f"Answer {len(heard)}.")

    async def look(n: int) -> str:
        """Look."""
        await tally.note("look")
        return "seen"

    provide(brain)
    service = SqliteSessionService(str(tmp_path / "sessions.db"))
    runner = Runner(
        app_name="chat",
        agent=LlmAgent(model=GEMINI, name="chatter", tools=[look]),
        session_service=service,
    )
    app = App()
    app.add(runner, name="chat")
    tally.hold("look")
    await ground.begin(app)
    first = await ground.start("chat", "One.", session="s1")
    await tally.reached("look")
    await ground.stop()
    tally.release("look")
    await ground.begin(app)
    await ground.result(first)
    await ground.result(await ground.start("chat", "Two.", session="s1"))
    assert heard[-1] == ["One.", "Answer 2.", "Two."]
    stored: Any = await service.get_session(app_name="chat", user_id="user", session_id="s1")
    assert [e.author for e in stored.events] == ["user", "chatter", "chatter", "chatter"] * 2
    assert runner.session_service is service
