"""Agents of Google's ADK under fire. Nothing in them knows of Perdure.

``adk_agent`` is the agent of ADK's documentation ("Get started", "Quickstart": ``Agent(name=...,
model=..., description=..., instruction=..., tools=[...])`` with plain functions as tools), with the
tools of this suite.
"""

from __future__ import annotations

from google import genai
from google.adk.agents import Agent

from perdure import App, once
from tests.faults import books
from tests.faults.books import note, reconcile

MODEL = "gemini-3-flash"


async def look(key: str, what: str) -> dict[str, str]:
    """Look something up.

    Args:
        key: Whose.
        what: What to look up.
    """
    note("look", f"{key}/{what}", "begin")
    async with genai.Client().aio as client:
        answer = await client.models.generate_content(
            model=MODEL, contents=f"{key}: what do you know of the {what}?"
        )
    note("look", f"{key}/{what}", "end")
    return {"status": "success", "report": answer.text or ""}


def charge(key: str) -> str:
    """Take the payment."""
    return books.charge(key)


root_agent = Agent(
    name="adk_agent",
    model=MODEL,
    description="Agent to look things up and pay for them.",
    instruction="You are a helpful agent who can look things up and pay for them.",
    tools=[look, charge],
)
app = App()
app.add(
    root_agent,
    tools={"look": "idempotent", "charge": once(reconcile=reconcile)},
    warm_sleep=0.01,
    park_after=0.05,
)
