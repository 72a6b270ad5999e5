"""LangGraph agents under fire: LangChain's own ``create_agent`` asks for three looks at once, each
with a model call inside, then for the payment. Nothing in them knows of Perdure.
"""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool

from perdure import App, once
from tests.faults.books import charge, note, reconcile
from tests.faults.plain import MODEL, ask, ask_sync


def graph(*, sync: bool) -> Any:
    """LangChain's own agent: the model asks for three looks at once, then for the payment."""

    @tool("charge")
    def paying(key: str) -> str:
        """Take the payment."""
        return charge(key)

    if sync:

        @tool("look")
        def looking(key: str, what: str) -> str:
            """Look something up."""
            note("look", f"{key}/{what}", "begin")
            found = ask_sync(f"{key}: what do you know of the {what}?")
            note("look", f"{key}/{what}", "end")
            return found
    else:

        @tool("look")
        async def looking(key: str, what: str) -> str:
            """Look something up."""
            note("look", f"{key}/{what}", "begin")
            found = await ask(f"{key}: what do you know of the {what}?")
            note("look", f"{key}/{what}", "end")
            return found

    model = ChatAnthropic(model_name=MODEL, streaming=True, timeout=None, stop=None)
    return create_agent(model, [looking, paying])


app = App()
for name, sync in {"graph_async": False, "graph_sync": True}.items():
    app.add(
        graph(sync=sync),
        name=name,
        tools={"look": "idempotent", "charge": once(reconcile=reconcile)},
        warm_sleep=0.01,
        park_after=0.05,
    )
