"""Agents of the OpenAI Agents SDK under fire. Nothing in them knows of Perdure.

They are the agent with function tools of the SDK's documentation (openai.github.io, "Tools",
"Function tools": ``@function_tool`` functions in ``Agent(name=..., tools=[...])``) with the tools
of this suite, one of which runs another agent (the same page, "Customizing tool-agents").
``oai_agent`` is given as it is; ``oai_sync`` is a function around ``Runner.run_sync``, which does
not stream; ``oai_chat`` keeps its conversation in a session ("Sessions": ``SQLiteSession``) and
ends only if nothing in it is there twice.
"""

from __future__ import annotations

import os
import platform

from agents import Agent, Runner, SQLiteSession, function_tool

import perdure
from perdure import App, once
from tests.faults import books
from tests.faults.books import note, reconcile

# Its default settings are the same in every version of the SDK, so that old journals replay.
MODEL = "gpt-4.1-mini"
PROMISES = {"look": "idempotent", "charge": once(reconcile=reconcile)}

platform.processor()  # OpenAI's client asks for it once, which starts a subprocess

expert = Agent(name="Expert", instructions="You know about everything.", model=MODEL)


@function_tool
async def look(key: str, what: str) -> str:
    """Look something up."""
    note("look", f"{key}/{what}", "begin")
    result = await Runner.run(expert, f"{key}: what do you know of the {what}?")
    note("look", f"{key}/{what}", "end")
    return str(result.final_output)


@function_tool(name_override="look")
def look_sync(key: str, what: str) -> str:
    """Look something up."""
    note("look", f"{key}/{what}", "begin")
    result = Runner.run_sync(expert, f"{key}: what do you know of the {what}?")
    note("look", f"{key}/{what}", "end")
    return str(result.final_output)


@function_tool
def charge(key: str) -> str:
    """Take the payment."""
    return books.charge(key)


agent = Agent(
    name="oai_agent",
    instructions="You are a helpful assistant.",
    tools=[look, charge],
    model=MODEL,
)
blocking = agent.clone(name="Blocking", tools=[look_sync, charge])


def oai_sync(key: str) -> str:
    return str(Runner.run_sync(blocking, key).final_output)


async def oai_chat(key: str) -> str:
    name = perdure.current().run_id
    session = SQLiteSession(name, os.path.join(os.path.dirname(os.environ["TOOL_LOG"]), "chat.db"))
    result = Runner.run_streamed(agent, key, session=session)
    async for _ in result.stream_events():
        pass
    kept = [str(item.get("type", item.get("role"))) for item in await session.get_items()]
    assert [kept.count(kind) for kind in ("user", "function_call", "function_call_output")] == [
        1, 4, 4,
    ], kept  # fmt: skip
    return str(result.final_output)


app = App()
app.add(agent, tools=PROMISES, warm_sleep=0.01, park_after=0.05)
app.add(oai_sync, tools=PROMISES, warm_sleep=0.01, park_after=0.05)
app.add(oai_chat, tools=PROMISES, warm_sleep=0.01, park_after=0.05)
