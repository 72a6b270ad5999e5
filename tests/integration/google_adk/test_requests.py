"""What an agent asks its user is a durable wait: the run parks, and any worker goes on with the
answer."""

from __future__ import annotations

from typing import Any

import pytest
from google.adk.agents import LlmAgent
from google.adk.tools.function_tool import FunctionTool
from google.adk.tools.long_running_tool import LongRunningFunctionTool

from perdure.app import App
from perdure.testing.simulator import Call, Reply
from tests.integration.google_adk.conftest import GEMINI
from tests.integration.stage import Provide, Tally, answer, emitted, tool_entries
from tests.running import Ground

# ADK and google-genai warn of what they do themselves.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def reimbursing(tally: Tally) -> LlmAgent:
    """As the documentation has it."""

    def ask_for_approval(purpose: str, amount: float) -> dict[str, Any]:
        """Ask for approval for the reimbursement."""
        tally.done.append("asked")
        if amount < 10:
            return {"status": "approved"}
        return {"status": "pending", "approver": "Sean Zhou", "ticket-id": "approval-ticket-1"}

    def reimburse(purpose: str, amount: float) -> str:
        """Reimburse the amount of money to the employee."""
        tally.done.append(f"reimbursed {amount:g}")
        return "ok"

    return LlmAgent(
        model=GEMINI,
        name="reimbursement_agent",
        instruction="You handle the reimbursement process.",
        tools=[reimburse, LongRunningFunctionTool(func=ask_for_approval)],
    )


async def test_a_long_running_tool(ground: Ground, tally: Tally, provide: Provide) -> None:
    def brain(call: Call) -> Reply:
        # ADK puts the answer where the pending response was, and leaves out what came after.
        told = str(call.messages[-1].parts) if call.messages[-1].role == "tool" else ""
        if "pending" in told:
            return Reply("I wait for the approval.")
        if "approved" in told:
            return Reply(tools=[("reimburse", {"purpose": "meals", "amount": 200})])
        if told:
            return Reply("Reimbursed.")
        return Reply(tools=[("ask_for_approval", {"purpose": "meals", "amount": 200})])

    provider = provide(brain)
    app = App()
    app.add(reimbursing(tally), park_after=0)
    await ground.begin(app)
    run = await ground.start("reimbursement_agent", "Please reimburse $200 for meals.")
    await ground.until(run, "waiting")
    (asked,) = await emitted(ground, run, "interrupt")
    assert (asked["kind"], asked["tool"], asked["agent"]) == (
        "tool",
        "ask_for_approval",
        "reimbursement_agent",
    )
    assert asked["arguments"] == {"purpose": "meals", "amount": 200}
    await ground.stop()
    await ground.begin(app)
    await answer(ground, run, {"status": "approved"}, f"resume:{asked['id']}")
    result = await ground.result(run)
    assert result["output"] == "Reimbursed."
    assert tally.done == ["asked", "reimbursed 200"]
    assert provider.counts().answered == 4
    assert await ground.warnings(run) == []


async def test_a_long_running_tool_that_is_done_at_once(
    ground: Ground, tally: Tally, provide: Provide
) -> None:
    provide(
        Reply(tools=[("ask_for_approval", {"purpose": "tea", "amount": 5})]),
        "Approved.",
    )
    app = App()
    app.add(reimbursing(tally))
    await ground.begin(app)
    run = await ground.start("reimbursement_agent", "Please reimburse $5 for tea.")
    assert (await ground.result(run))["output"] == "Approved."
    assert await emitted(ground, run, "interrupt") == []


@pytest.mark.parametrize("yes", [True, False])
async def test_a_tool_that_wants_to_be_confirmed(
    ground: Ground, tally: Tally, provide: Provide, yes: bool
) -> None:
    def book(hotel: str) -> str:
        """Book it."""
        tally.done.append(f"booked {hotel}")
        return f"booked {hotel}"

    provider = provide(Reply(tools=[("book", {"hotel": "Ritz"})]), "Done.")
    app = App()
    app.add(
        LlmAgent(
            model=GEMINI, name="booker", tools=[FunctionTool(book, require_confirmation=True)]
        ),
        tools={"book": "once"},
        park_after=0,
    )
    await ground.begin(app)
    run = await ground.start("booker", "Book the Ritz.")
    await ground.until(run, "waiting")
    (asked,) = await emitted(ground, run, "interrupt")
    assert (asked["kind"], asked["tool"]) == ("confirmation", "book")
    assert asked["arguments"] == {"hotel": "Ritz"}
    assert tally.done == []
    await ground.stop()
    await ground.begin(app)
    await answer(ground, run, yes, f"resume:{asked['id']}")
    assert (await ground.result(run))["output"] == "Done."
    assert tally.done == (["booked Ritz"] if yes else [])
    assert len(await tool_entries(ground, run)) == (1 if yes else 0)
    assert provider.counts().answered == 2


async def test_two_confirmations_are_asked_at_once(
    ground: Ground, tally: Tally, provide: Provide
) -> None:
    def book(hotel: str) -> str:
        """Book it."""
        tally.done.append(f"booked {hotel}")
        return f"booked {hotel}"

    provide(Reply(tools=[("book", {"hotel": h}) for h in ("Ritz", "Astor")]), "Done.")
    app = App()
    app.add(
        LlmAgent(
            model=GEMINI, name="booker", tools=[FunctionTool(book, require_confirmation=True)]
        ),
        park_after=0,
    )
    await ground.begin(app)
    run = await ground.start("booker", "Book both.")
    await ground.until(run, "waiting")
    asked = {q["arguments"]["hotel"]: q["id"] for q in await emitted(ground, run, "interrupt")}
    await answer(ground, run, {"confirmed": True}, f"resume:{asked['Astor']}")
    await answer(ground, run, False, f"resume:{asked['Ritz']}")
    assert (await ground.result(run))["output"] == "Done."
    assert tally.done == ["booked Astor"]
