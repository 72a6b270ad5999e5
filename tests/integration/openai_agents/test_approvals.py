"""Tools that need approval: the run parks, any worker goes on with the answer."""

from __future__ import annotations

from typing import Any

import pytest
from agents import Agent, Runner, function_tool

from perdure.app import App
from perdure.frameworks.openai_agents import (
    Configured,
    wait_for_approvals,
    wait_for_approvals_blocking,
)
from perdure.testing.simulator import Call, Reply
from tests.integration.openai_agents.conftest import Provide, Tally, noting
from tests.integration.stage import answer, emitted
from tests.running import Ground


def mailer(tally: Tally) -> Agent[Any]:
    @function_tool(needs_approval=True)
    async def send(to: str) -> str:
        """Sends."""
        await tally.note(f"send {to}")
        return f"sent to {to}"

    @function_tool
    async def draft() -> str:
        """Drafts."""
        await tally.note("draft")
        return "drafted"

    return Agent(name="mailer", tools=[send, draft], model="gpt-5")


# The SDK ends its loop's generators after each run_sync, and uses the loop again.
@pytest.mark.filterwarnings("ignore:asynchronous generator:ResourceWarning")
@pytest.mark.parametrize("form", ["agent", "quiet", "plain", "sync"])
async def test_a_tool_waits_for_a_person(
    ground: Ground, provide: Provide, tally: Tally, form: str
) -> None:
    provider = provide(
        Reply(tools=[("draft", {})]), Reply(tools=[("send", {"to": "ann"})]), "all sent"
    )
    agent = mailer(tally)
    app = App()
    if form == "agent":
        app.add(agent, park_after=0)
    elif form == "quiet":
        app.add(Configured(agent, stream=False), park_after=0)
    elif form == "plain":

        @app.agent(name="mailer", park_after=0)
        async def plain(text: str) -> Any:
            result = await Runner.run(agent, text)
            while result.interruptions:
                result = await Runner.run(agent, await wait_for_approvals(result))
            return result.final_output

    else:

        @app.agent(name="mailer", park_after=0)
        def plain_sync(text: str) -> Any:
            result = Runner.run_sync(agent, text)
            while result.interruptions:
                result = Runner.run_sync(agent, wait_for_approvals_blocking(result))
            return result.final_output

    await ground.begin(app)
    run = await ground.start("mailer", "go")
    await ground.until(run, "waiting")
    (asked,) = await emitted(ground, run, "interrupt")
    about = {name: value for name, value in asked.items() if name != "id"}
    assert about == {
        "kind": "approval", "agent": "mailer", "tool": "send", "arguments": {"to": "ann"},
    }  # fmt: skip
    assert tally.done == ["draft"]
    await ground.stop()
    await answer(ground, run, True, f"resume:{asked['id']}")
    await ground.begin(app)
    assert await ground.result(run) == "all sent"
    assert tally.done == ["draft", "send ann"]
    assert len(await emitted(ground, run, "interrupt")) == 1
    assert await ground.warnings(run) == []
    assert not provider.counts().repeated


async def test_a_refusal_with_a_word_for_the_model(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    calls: list[Call] = []
    provide(noting(calls, Reply(tools=[("send", {"to": "ann"})]), "not sent"))
    app = App()
    app.add(mailer(tally), park_after=0)
    await ground.begin(app)
    run = await ground.start("mailer", "go")
    await ground.until(run, "waiting")
    await answer(ground, run, "perhaps")
    await ground.until(run, "waiting")
    await answer(ground, run, {"approved": False, "message": "not to Ann"})
    assert await ground.result(run) == "not sent"
    assert tally.done == []
    assert [r.content for r in calls[1].results] == ["not to Ann"]
    assert await ground.warnings(run) == ["no_answer"]


async def test_questions_at_once_are_both_asked_and_answered_in_any_order(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    provide(Reply(tools=[("send", {"to": "ann"}), ("send", {"to": "bob"}), ("draft", {})]), "done")
    app = App()
    app.add(mailer(tally), park_after=0)
    await ground.begin(app)
    run = await ground.start("mailer", "go")
    await ground.until(run, "waiting")
    asked = {q["arguments"]["to"]: q["id"] for q in await emitted(ground, run, "interrupt")}
    assert set(asked) == {"ann", "bob"}
    await answer(ground, run, True, f"resume:{asked['bob']}")
    await ground.stop()
    await ground.begin(app)
    await ground.until(run, "waiting")
    await answer(ground, run, False)
    assert await ground.result(run) == "done"
    assert sorted(tally.done) == ["draft", "send bob"]


@pytest.mark.filterwarnings("ignore:asynchronous generator:ResourceWarning")
@pytest.mark.parametrize("form", ["agent", "quiet", "sync"])
async def test_an_agent_as_a_tool_asks(
    ground: Ground, provide: Provide, tally: Tally, form: str
) -> None:
    """Its call has no outcome until it was answered; what it did before is not done twice."""

    def brain(call: Call) -> Reply:
        names = {tool.name for tool in call.tools}
        if "send" in names:
            send = Reply(tools=[("send", {"to": "ann"})])
            return [Reply(tools=[("draft", {})]), send, Reply("sent!")][call.turn]
        return Reply(tools=[("mail", {"input": "mail"})]) if call.turn == 0 else Reply("finished")

    provider = provide(brain)
    boss = Agent(name="boss", tools=[mailer(tally).as_tool("mail", "Mails")], model="gpt-5-mini")
    app = App()
    if form == "sync":

        @app.agent(name="boss", park_after=0)
        def plain_sync(text: str) -> Any:
            result = Runner.run_sync(boss, text)
            while result.interruptions:
                result = Runner.run_sync(boss, wait_for_approvals_blocking(result))
            return result.final_output

    else:
        app.add(Configured(boss, stream=form == "agent"), park_after=0)
    await ground.begin(app)
    run = await ground.start("boss", "go")
    await ground.until(run, "waiting")
    (asked,) = await emitted(ground, run, "interrupt")
    assert asked["tool"] == "send"
    await ground.stop()
    await answer(ground, run, True)
    tally.hold("send ann")
    await ground.begin(app)
    await tally.reached("send ann")
    await ground.stop()
    tally.release("send ann")
    await ground.begin(app)
    assert await ground.result(run) == "finished"
    assert tally.count("draft") == 1
    assert not provider.counts().repeated
