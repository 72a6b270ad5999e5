"""A support agent of Pydantic AI: dependencies, a typed answer, a tool that a person must approve.

Try it:

    export ANTHROPIC_API_KEY=...
    perdure dev examples/support.py
    curl -s localhost:8080/api/agents/support/runs -H 'content-type: application/json' \\
         -d '{"input": {"user_prompt": "I lost my card!", "deps": 123}}'
    perdure signal RUN_ID resume true
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pydantic import BaseModel, Field
from pydantic_ai import Agent, RunContext

from perdure import App, once
from perdure.frameworks.pydantic_ai import Configured


class Bank:
    """Stands for a connection to a database."""

    async def name(self, customer: int) -> str:
        return {123: "John"}.get(customer, "nobody we know")

    async def balance(self, customer: int) -> float:
        return 123.45 if customer == 123 else 0.0


@dataclass
class Support:
    """What a run needs."""

    customer: int
    bank: Bank


class Advice(BaseModel):
    """The answer."""

    advice: str = Field(description="What to tell the customer")
    risk: int = Field(description="Risk level of the query", ge=0, le=10)


agent = Agent(
    "anthropic:claude-sonnet-5-5",
    name="support",
    deps_type=Support,
    output_type=Advice,
    instructions="You are a support agent in our bank.",
)


@agent.instructions
async def customer_name(ctx: RunContext[Support]) -> str:
    """Who asks."""
    return f"The customer's name is {await ctx.deps.bank.name(ctx.deps.customer)}."


@agent.tool
async def balance(ctx: RunContext[Support]) -> str:
    """The customer's current balance."""
    return f"${await ctx.deps.bank.balance(ctx.deps.customer):.2f}"


@agent.tool(requires_approval=True)
async def block_card(ctx: RunContext[Support], reason: str) -> str:
    """Blocks the customer's card."""
    return f"card of {ctx.deps.customer} blocked: {reason}"


@asynccontextmanager
async def open_bank(customer: int) -> AsyncIterator[Support]:
    """The dependencies of one attempt, from what the run's input says of them."""
    yield Support(customer, Bank())


app = App()
app.add(
    Configured(agent, deps=open_bank),
    tools={"balance": "reads", "block_card": once()},
)
