"""Tools that need approval, or whose results come from outside: the run waits, parked."""

from __future__ import annotations

from typing import Any, cast

import pytest
from pydantic_ai import (
    Agent,
    ApprovalRequired,
    CallDeferred,
    DeferredToolRequests,
    DeferredToolResults,
    RunContext,
    ToolDefinition,
)
from pydantic_ai.capabilities import HandleDeferredToolCalls
from pydantic_ai.toolsets import ExternalToolset

from perdure.app import App
from perdure.errors import UsageError
from perdure.runtime.attempt import Attempt
from perdure.testing.simulator import Call, Reply
from tests.integration.pydantic_ai.conftest import CLAUDE, noting
from tests.integration.stage import Provide, Tally, answer, emitted
from tests.running import Ground


def clerk(tally: Tally, **options: Any) -> Agent[object, Any]:
    agent: Agent[object, Any] = Agent(CLAUDE, name="clerk", **options)

    @agent.tool_plain(requires_approval=True)
    async def refund(order: str, cents: int) -> str:
        """Pays back."""
        tally.done.append(f"refund {order} {cents}")
        return "refunded"

    @agent.tool_plain
    async def look(order: str) -> str:
        """Looks."""
        tally.done.append(f"look {order}")
        return "seen"

    return agent


ASK = Reply(tools=[("refund", {"order": "o1", "cents": 5}), ("look", {"order": "o1"})])


@pytest.mark.parametrize(
    ("said", "done", "told"),
    [
        (True, "refund o1 5", "refunded"),
        ({"approved": True}, "refund o1 5", "refunded"),
        (
            {"approved": True, "override_args": {"order": "o1", "cents": 3}},
            "refund o1 3",
            "refunded",
        ),
        ({"kind": "tool-approved"}, "refund o1 5", "refunded"),
        (False, None, "denied"),
        ({"approved": False, "message": "Too much."}, None, "Too much."),
        ({"kind": "tool-denied", "message": "Never."}, None, "Never."),
    ],
)
async def test_an_approval_is_waited_for_parked(
    ground: Ground, provide: Provide, tally: Tally, said: Any, done: str | None, told: str
) -> None:
    seen: list[Call] = []
    sim = provide(noting(seen, ASK, "Done."))
    app = App()
    app.add(clerk(tally), tools={"refund": "once"})
    await ground.begin(app)
    run = await ground.start("clerk", "Refund o1.")
    parked = await ground.until(run, "waiting")
    assert {wait["reason"] for wait in parked.waits} == {"signal"}
    await ground.stop()
    (question,) = await emitted(ground, run, "interrupt")
    assert question["kind"] == "approval"
    assert question["tool"] == "refund"
    assert question["arguments"] == {"order": "o1", "cents": 5}
    await answer(ground, run, said, f"resume:{question['id']}")
    await ground.begin(app)
    assert await ground.result(run) == "Done."
    assert sorted(tally.done) == sorted(["look o1", *([done] if done else [])])
    assert told in str(seen[-1].results)
    assert sim.counts().answered == 2
    assert len(await emitted(ground, run, "interrupt")) == 1


async def test_an_answer_that_says_nothing_is_asked_for_again(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    provide(ASK, "Done.")
    app = App()
    app.add(clerk(tally))
    await ground.begin(app)
    run = await ground.start("clerk", "Refund o1.")
    await ground.until(run, "waiting")
    await answer(ground, run, "perhaps")
    await ground.recorded(run, f"resume:{(await emitted(ground, run, 'interrupt'))[0]['id']}")
    await ground.until(run, "waiting")
    assert await ground.warnings(run) == ["no_answer"]
    await answer(ground, run, True)
    assert await ground.result(run) == "Done."
    assert "refund o1 5" in tally.done


async def test_several_at_once_are_all_asked(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    seen: list[Call] = []
    uses = [("refund", {"order": f"o{i}", "cents": i}) for i in (1, 2)]
    provide(noting(seen, Reply(tools=uses), "Done."))
    app = App()
    app.add(clerk(tally))
    await ground.begin(app)
    run = await ground.start("clerk", "Refund both.")
    await ground.until(run, "waiting")
    questions = {q["arguments"]["order"]: q["id"] for q in await emitted(ground, run, "interrupt")}
    await answer(ground, run, True, f"resume:{questions['o2']}")
    await answer(ground, run, False, f"resume:{questions['o1']}")
    assert await ground.result(run) == "Done."
    assert tally.done == ["refund o2 2"]


@pytest.mark.parametrize("raised", [True, False])
@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("42 degrees", "42 degrees"),
        ({"degrees": 42}, "42"),
        ({"kind": "model-retry", "message": "Which city?"}, "Which city?"),
    ],
)
async def test_a_result_from_outside(
    ground: Ground, provide: Provide, tally: Tally, raised: bool, said: Any, told: str
) -> None:
    agent: Agent[object, Any]
    if raised:
        agent = Agent(CLAUDE, name="a")

        @agent.tool_plain
        async def measure(city: str) -> str:
            """Measured by somebody."""
            raise CallDeferred(metadata={"by": "hand"})
    else:
        schema = {"type": "object", "properties": {"city": {"type": "string"}}}
        outside = ExternalToolset([ToolDefinition(name="measure", parameters_json_schema=schema)])
        agent = Agent(CLAUDE, name="a", toolsets=[outside])
    seen: list[Call] = []
    provide(noting(seen, Reply(tools=[("measure", {"city": "Rome"})]), "Done."))
    app = App()
    app.add(agent)
    await ground.begin(app)
    run = await ground.start("a", "How warm?")
    await ground.until(run, "waiting")
    (question,) = await emitted(ground, run, "interrupt")
    assert question["kind"] == "tool"
    assert question.get("metadata") == ({"by": "hand"} if raised else None)
    await ground.stop()
    await answer(ground, run, said)
    await ground.begin(app)
    assert await ground.result(run) == "Done."
    assert told in str(seen[-1].results)
    assert await ground.warnings(run) == []


async def test_a_tool_that_asks_in_its_own_body(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    agent = Agent(CLAUDE, name="a", output_type=[str, DeferredToolRequests])

    @agent.tool
    def delete(ctx: RunContext[object], path: str) -> str:
        """Deletes a file."""
        if path.startswith("/etc") and not ctx.tool_call_approved:
            raise ApprovalRequired(metadata={"why": "dangerous"})
        tally.done.append(f"delete {path}")
        return "deleted"

    provide(Reply(tools=[("delete", {"path": p}) for p in ("/etc/x", "/tmp/x")]), "Done.")
    app = App()
    app.add(agent, tools={"delete": "once"})
    await ground.begin(app)
    run = await ground.start("a", "Clean up.")
    await ground.until(run, "waiting")
    (question,) = await emitted(ground, run, "interrupt")
    assert question["metadata"] == {"why": "dangerous"}
    assert tally.done == ["delete /tmp/x"]
    await ground.stop()
    await answer(ground, run, True)
    await ground.begin(app)
    assert await ground.result(run) == "Done."
    assert tally.done == ["delete /tmp/x", "delete /etc/x"]


async def test_the_agents_own_handler_comes_first(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    def handle(ctx: RunContext[Any], requests: DeferredToolRequests) -> DeferredToolResults | None:
        small = [c for c in requests.approvals if c.args_as_dict()["cents"] < 10]
        return requests.build_results(approvals={c.tool_call_id: True for c in small})

    uses = [("refund", {"order": f"o{i}", "cents": i}) for i in (1, 100)]
    provide(Reply(tools=uses), "Done.")
    app = App()
    app.add(clerk(tally, capabilities=[HandleDeferredToolCalls(handle)]))
    await ground.begin(app)
    run = await ground.start("clerk", "Refund both.")
    await ground.until(run, "waiting")
    (question,) = await emitted(ground, run, "interrupt")
    assert question["arguments"]["cents"] == 100
    await answer(ground, run, False)
    assert await ground.result(run) == "Done."
    assert tally.done == ["refund o1 1"]


@pytest.mark.parametrize("to_caller", [False, True])
async def test_an_inner_agents_question(
    ground: Ground, provide: Provide, tally: Tally, to_caller: bool
) -> None:
    def brain(call: Call) -> Reply:
        outer = {tool.name for tool in call.tools} == {"delegate"}
        if call.turn:
            return Reply("Done.")
        return Reply(tools=[("delegate", {})]) if outer else ASK

    provide(brain)
    output: Any = {"output_type": [str, DeferredToolRequests]} if to_caller else {}
    inner = clerk(tally, **output)
    agent = Agent(CLAUDE, name="a")

    @agent.tool_plain
    async def delegate() -> str:
        """Leaves it to a clerk."""
        found = (await inner.run("Refund o1.")).output
        return "not now" if isinstance(found, DeferredToolRequests) else found

    app = App()
    app.add(agent)
    await ground.begin(app)
    run = await ground.start("a", "Refund o1.")
    if not to_caller:
        await ground.until(run, "waiting")
        await ground.stop()
        await answer(ground, run, True)
        await ground.begin(app)
    assert await ground.result(run) == "Done."
    assert sorted(tally.done) == (["look o1"] if to_caller else ["look o1", "refund o1 5"])
    assert await ground.warnings(run) == []


async def test_unrecorded_runs_cannot_wait(provide: Provide, tally: Tally) -> None:
    provide(ASK, "Done.")
    app = App()
    agent = clerk(tally, output_type=[str, DeferredToolRequests])
    app.add(agent, durability="none")
    async with agent:  # closes its client, which is its own outside runs
        with pytest.raises(UsageError, match="asks for approval"):
            await app.agents["clerk"].invoke(cast("Attempt", None), "Refund o1.")
    assert tally.done == ["look o1"]


async def test_unrecorded_runs_answer(provide: Provide, tally: Tally) -> None:
    provide(Reply(tools=[("look", {"order": "o1"})]), "Done.")
    app = App()
    agent = clerk(tally)
    app.add(agent, durability="none")
    async with agent:
        assert await app.agents["clerk"].invoke(cast("Attempt", None), "Look.") == "Done."
    assert tally.done == ["look o1"]
