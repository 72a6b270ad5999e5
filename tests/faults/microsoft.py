"""Agents of Microsoft Agent Framework under fire. Nothing in them knows of Perdure.

``maf_agent`` is the agent with function tools of Microsoft's documentation ("Get started", "Add
tools": ``Agent(client=..., name=..., instructions=..., tools=[...])`` and ``@tool`` functions),
with the tools of this suite. ``maf_flow`` is its first workflow ("Workflows", "Executors and
edges": one executor after the other) around the same agent.
"""

from __future__ import annotations

from typing import Annotated

from agent_framework import Agent, Executor, WorkflowBuilder, WorkflowContext, handler, tool
from agent_framework.openai import OpenAIChatCompletionClient
from openai import AsyncOpenAI
from pydantic import Field

from perdure import App, once
from tests.faults import books
from tests.faults.books import note, reconcile

MODEL = "gpt-5-mini"


@tool(approval_mode="never_require")
async def look(
    key: Annotated[str, Field(description="Whose.")],
    what: Annotated[str, Field(description="What to look up.")],
) -> str:
    """Look something up."""
    note("look", f"{key}/{what}", "begin")
    async with AsyncOpenAI() as client:
        answer = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": f"{key}: what do you know of the {what}?"}],
        )
    note("look", f"{key}/{what}", "end")
    return answer.choices[0].message.content or ""


@tool(approval_mode="never_require")
def charge(key: Annotated[str, Field(description="Whose.")]) -> str:
    """Take the payment."""
    return books.charge(key)


def agent(name: str) -> Agent:
    """The documentation's agent."""
    return Agent(
        client=OpenAIChatCompletionClient(model=MODEL),
        name=name,
        instructions="You are a friendly assistant. Keep your answers brief.",
        tools=[look, charge],
    )


class Plan(Executor):
    """The documentation's first executor: it changes the text and sends it on."""

    @handler
    async def plan(self, text: str, ctx: WorkflowContext[str]) -> None:
        """Sends the text on."""
        await ctx.send_message(f"{text}: plan it")


plan = Plan(id="plan")
app = App()
for target in (
    agent("maf_agent"),
    WorkflowBuilder(start_executor=plan, name="maf_flow")
    .add_edge(plan, agent("assistant"))
    .build(),
):
    app.add(
        target,
        tools={"look": "idempotent", "charge": once(reconcile=reconcile)},
        warm_sleep=0.01,
        park_after=0.05,
    )
