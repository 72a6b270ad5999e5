"""What an agent or a workflow asks its user is a durable wait: the run parks, and any worker goes
on with the answer."""

from __future__ import annotations

from typing import Any

import pytest
from agent_framework import (
    Agent,
    FunctionTool,
    WorkflowBuilder,
    tool,
)

from perdure.app import App
from perdure.errors import UsageError
from perdure.testing.simulator import Reply
from tests.integration.agent_framework.conftest import gpt
from tests.integration.agent_framework.reviewing import Reviewed
from tests.integration.agent_framework.test_agents import said
from tests.integration.stage import Provide, Tally, answer, emitted, tool_entries
from tests.running import Ground


def banker(tally: Tally, api: str = "chat") -> Agent:
    @tool(approval_mode="always_require")
    async def transfer(to: str, amount: int) -> str:
        """Send money."""
        tally.done.append(f"transfer {to} {amount}")
        return f"sent {amount} to {to}"

    @tool
    async def balance(account: str) -> str:
        """The balance."""
        tally.done.append("balance")
        return "100"

    return Agent(client=gpt(api), name="banker", tools=[transfer, balance])


@pytest.mark.parametrize("api", ["responses", "chat"])
@pytest.mark.parametrize("yes", [True, False])
async def test_a_tool_that_needs_approval(
    ground: Ground, tally: Tally, provide: Provide, api: str, yes: bool
) -> None:
    provider = provide(
        Reply(tools=[("balance", {"account": "mine"})]),
        Reply(tools=[("transfer", {"to": "ada", "amount": 7})]),
        "Done.",
    )
    app = App()
    app.add(banker(tally, api), park_after=0)
    await ground.begin(app)
    run = await ground.start("banker", "Send 7 to Ada.")
    await ground.until(run, "waiting")
    (asked,) = await emitted(ground, run, "interrupt")
    assert (asked["kind"], asked["tool"]) == ("approval", "transfer")
    assert asked["arguments"] == {"to": "ada", "amount": 7}
    assert tally.done == ["balance"]
    await ground.stop()
    await ground.begin(app)
    await answer(ground, run, yes, f"resume:{asked['id']}")
    assert said(await ground.result(run)) == "Done."
    assert tally.done == ["balance", "transfer ada 7"][: 2 if yes else 1]
    assert provider.counts().answered == 3
    assert await ground.warnings(run) == []


async def test_two_approvals_are_asked_at_once(
    ground: Ground, tally: Tally, provide: Provide
) -> None:
    provide(
        Reply(
            tools=[
                ("transfer", {"to": "ada", "amount": 1}),
                ("balance", {"account": "mine"}),
                ("transfer", {"to": "bob", "amount": 2}),
            ]
        ),
        "Done.",
    )
    app = App()
    app.add(banker(tally), park_after=0)
    await ground.begin(app)
    run = await ground.start("banker", "Send.")
    await ground.until(run, "waiting")
    asked = await emitted(ground, run, "interrupt")
    by_name = {q["arguments"]["to"]: q["id"] for q in asked}
    assert set(by_name) == {"ada", "bob"}
    await answer(ground, run, {"approved": True}, f"resume:{by_name['bob']}")
    await answer(ground, run, {"approved": False, "why": "no"}, f"resume:{by_name['ada']}")
    await ground.result(run)
    assert sorted(tally.done) == ["balance", "transfer bob 2"]


async def test_a_tool_that_the_caller_carries_out(ground: Ground, provide: Provide) -> None:
    locate = FunctionTool(
        name="locate",
        description="Where the user is.",
        input_model={"type": "object", "properties": {"precise": {"type": "boolean"}}},
    )
    provide(Reply(tools=[("locate", {"precise": True})]), "You are in Faro.")
    app = App()
    app.add(Agent(client=gpt("chat"), name="guide", tools=[locate]), park_after=0)
    await ground.begin(app)
    run = await ground.start("guide", "Where am I?")
    await ground.until(run, "waiting")
    (asked,) = await emitted(ground, run, "interrupt")
    assert (asked["kind"], asked["tool"]) == ("tool", "locate")
    await answer(ground, run, {"city": "Faro"})
    assert said(await ground.result(run)) == "You are in Faro."
    assert await tool_entries(ground, run) == []


async def test_with_nothing_kept_nobody_is_asked(tally: Tally, provide: Provide) -> None:
    provide(Reply(tools=[("transfer", {"to": "ada", "amount": 7})]), "Done.")
    app = App()
    target: Any = banker(tally)
    app.add(target, durability="none")
    agent = app.agents["banker"]

    class Attempt:
        agent_name = "banker"

        class lease:
            session = None
            run_id = "x"

    async with target.client.client:
        with pytest.raises(UsageError, match="nothing is kept"):
            await agent.invoke(Attempt(), "Send.")  # type: ignore[arg-type]


# -- workflows ------------------------------------------------------------------------------------


async def test_a_workflow_that_asks(ground: Ground, tally: Tally) -> None:
    app = App()
    workflow = WorkflowBuilder(start_executor=Reviewed(tally), name="review").build()
    app.add(workflow, park_after=0)
    await ground.begin(app)
    run = await ground.start("review", "Dear")
    await ground.until(run, "waiting")
    (asked,) = await emitted(ground, run, "interrupt")
    assert (asked["kind"], asked["executor"], asked["value"]) == (
        "request",
        "reviewed",
        {"text": "Dear"},
    )
    await ground.stop()
    await ground.begin(app)
    await answer(ground, run, {"approved": True, "comment": "fine"}, f"resume:{asked['id']}")
    # Each attempt has a workflow of its own: nothing was seen twice.
    assert await ground.result(run) == ["['Dear'] Dear: fine"]
    assert len(await emitted(ground, run, "interrupt")) == 1


async def test_an_approval_inside_a_workflow(
    ground: Ground, tally: Tally, provide: Provide
) -> None:
    provide(Reply(tools=[("transfer", {"to": "ada", "amount": 7})]), "Done.")
    app = App()
    app.add(WorkflowBuilder(start_executor=banker(tally), name="bank").build(), park_after=0)
    await ground.begin(app)
    run = await ground.start("bank", "Send.")
    await ground.until(run, "waiting")
    (asked,) = await emitted(ground, run, "interrupt")
    assert asked["tool"] == "transfer"
    await answer(ground, run, True)
    result: list[Any] = await ground.result(run)
    assert said(result[-1]) == "Done."
    assert tally.done == ["transfer ada 7"]
