"""Agents of Pydantic AI under fire. Nothing in them knows of Perdure.

They are the agents of its documentation's page on multi-agent applications ("Agent delegation":
an agent whose tool runs another one with ``usage=ctx.usage``), with the tools of this suite:
``pai_agent`` as it is, ``pai_sync`` a function around ``agent.run_sync``, ``pai_events`` one around
``agent.run_stream_events``. They end only if usage was counted as if nothing had happened.
"""

from __future__ import annotations

from pydantic_ai import Agent, RunContext, UsageLimits
from pydantic_ai.run import AgentRunResultEvent

from perdure import App, once
from perdure.frameworks.pydantic_ai import Configured
from tests.faults import books
from tests.faults.books import note, reconcile

MODEL = "anthropic:claude-haiku-5-5"
PROMISES = {"look": "idempotent", "charge": once(reconcile=reconcile)}
LIMITS = UsageLimits(request_limit=6, tool_calls_limit=4)


def selection(name: str) -> Agent[object, str]:
    """The documentation's agents."""
    selection_agent = Agent(MODEL, name=name, instructions="Use the tools.")
    expert_agent = Agent(MODEL, instructions="You know about everything.")

    @selection_agent.tool
    async def look(ctx: RunContext[object], key: str, what: str) -> str:
        """Look something up."""
        note("look", f"{key}/{what}", "begin")
        result = await expert_agent.run(
            f"{key}: what do you know of the {what}?", usage=ctx.usage, usage_limits=LIMITS
        )
        note("look", f"{key}/{what}", "end")
        return result.output

    @selection_agent.tool_plain
    def charge(key: str) -> str:
        """Take the payment."""
        return books.charge(key)

    @selection_agent.output_validator
    def counted(ctx: RunContext[object], output: str) -> str:
        """Six model calls, four tool calls, however often this was begun."""
        if not ctx.partial_output:
            assert (ctx.usage.requests, ctx.usage.tool_calls) == (6, 4), ctx.usage
        return output

    return selection_agent


selection_agent = selection("pai_agent")


def pai_sync(key: str) -> str:
    # An agent of its own: two event loops cannot use one client, here or anywhere.
    return selection("pai_sync").run_sync(key, usage_limits=LIMITS).output


async def pai_events(key: str) -> str:
    output = ""
    async with selection_agent.run_stream_events(key, usage_limits=LIMITS) as events:
        async for event in events:
            if isinstance(event, AgentRunResultEvent):
                output = event.result.output
    return output


app = App()
served = Configured(selection_agent, usage_limits=LIMITS)
app.add(served, tools=PROMISES, warm_sleep=0.01, park_after=0.05)
app.add(pai_sync, tools=PROMISES, warm_sleep=0.01, park_after=0.05)
app.add(pai_events, tools=PROMISES, warm_sleep=0.01, park_after=0.05)
