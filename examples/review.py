"""A LangGraph graph that asks a person, and a tool that must not happen twice.

Try it:

    perdure dev examples/review.py
    curl -s localhost:8080/api/agents/review/runs -d '{"input": {"text": "We apologise."}}'
    perdure signal RUN_ID resume '"send"'
"""

from typing import TypedDict

from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from perdure import App, once


class State(TypedDict, total=False):
    text: str
    verdict: str
    receipt: str


@tool
def send(text: str) -> str:
    """Sends a letter."""
    return f"sent: {text}"


def ask(state: State) -> State:
    """Waits for a person; the run is parked meanwhile."""
    return {"verdict": interrupt({"shall we send this?": state["text"]})}


async def deliver(state: State) -> State:
    """Sends it."""
    return {"receipt": await send.ainvoke({"text": state["text"]})}


def decide(state: State) -> str:
    """Where to go after the verdict."""
    return "deliver" if state["verdict"] == "send" else END


builder = StateGraph(State)
builder.add_node("ask", ask)
builder.add_node("deliver", deliver)
builder.add_edge(START, "ask")
builder.add_conditional_edges("ask", decide)

app = App()
app.add(builder, name="review", tools={"send": once()})
