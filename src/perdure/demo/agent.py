"""A research agent in plain LangGraph: it reads a folder of documents and writes a report.

    ANTHROPIC_API_KEY=... python agent.py "What does a worker do when it is killed?"

``DOCS`` is the folder, ``RESEARCH_MODEL`` the model (any name that LangChain knows), ``MAX_TOKENS``
the length of an answer, ``TOOL_LOG`` a file for a line about every tool call.
"""

from __future__ import annotations

import asyncio
import logging
import operator
import os
import sys
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain.chat_models import init_chat_model
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph

QUESTION = "What do these documents promise, and what do they ask of their reader?"
DOCS = Path(os.environ.get("DOCS", "docs"))

log = logging.getLogger("research")
if "TOOL_LOG" in os.environ:
    handler = logging.FileHandler(os.environ["TOOL_LOG"])
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)

model = init_chat_model(
    os.environ.get("RESEARCH_MODEL", "anthropic:claude-haiku-5-5"),
    max_tokens=int(os.environ.get("MAX_TOKENS", "2000")),
)


@tool
def list_documents() -> list[str]:
    """The names of the documents."""
    names = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
    log.info("list_documents(): %d documents", len(names))
    return names


@tool
def read_document(name: str) -> str:
    """The text of a document."""
    text = (DOCS / name).read_text("utf-8")
    log.info("read_document(%s): %d characters", name, len(text))
    return text


class State(TypedDict, total=False):
    """What the agent knows so far."""

    question: str
    plan: str
    to_read: list[str]
    text: str
    notes: Annotated[list[str], operator.add]
    outline: str
    report: str


async def ask(prompt: str) -> str:
    """One model call."""
    answer = await model.ainvoke(
        [("system", "You research documents. Be brief and exact."), ("user", prompt)]
    )
    return answer.text.strip()


async def survey(state: State) -> State:
    """See what is there and plan."""
    question = state.get("question") or QUESTION
    names: list[str] = await list_documents.ainvoke({})
    plan = await ask(
        f"Question: {question}\n\nDocuments:\n"
        + "\n".join(f"- {name}" for name in names)
        + "\n\nPlan in two sentences what to look for in them."
    )
    return {"question": question, "plan": plan, "to_read": names}


async def read(state: State) -> State:
    """Open the next document."""
    return {"text": await read_document.ainvoke({"name": state["to_read"][0]})}


async def take_notes(state: State) -> State:
    """Note what the open document says."""
    name, *rest = state["to_read"]
    note = await ask(
        f"Question: {state['question']}\n\nDocument {name}:\n\n{state['text']}\n\n"
        "Note in two sentences what it says about the question."
    )
    return {"notes": [f"{name}: {note}"], "to_read": rest, "text": ""}


def more(state: State) -> str:
    """Whether a document is left."""
    return "read" if state["to_read"] else "outline"


async def outline(state: State) -> State:
    """Order the notes."""
    return {
        "outline": await ask(
            f"Question: {state['question']}\n\nPlan: {state['plan']}\n\nNotes:\n"
            + "\n".join(state["notes"])
            + "\n\nOutline a report that answers the question, in at most five headings."
        )
    }


async def write(state: State) -> State:
    """Write the report."""
    return {
        "report": await ask(
            f"Question: {state['question']}\n\nOutline:\n{state['outline']}\n\nNotes:\n"
            + "\n".join(state["notes"])
            + "\n\nWrite the report in at most 200 words. Name the documents you use."
        )
    }


graph = StateGraph(State)
for step in (survey, read, take_notes, outline, write):
    graph.add_node(step.__name__, step)
graph.add_edge(START, "survey")
graph.add_edge("survey", "read")
graph.add_edge("read", "take_notes")
graph.add_conditional_edges("take_notes", more, ["read", "outline"])
graph.add_edge("outline", "write")
graph.add_edge("write", END)

agent = graph.compile(name="research").with_config(recursion_limit=100)


async def main() -> None:
    """Answer the question on the command line."""
    question = " ".join(sys.argv[1:]) or QUESTION
    done: dict[str, Any] = await agent.ainvoke({"question": question})
    print(done["report"])


if __name__ == "__main__":
    asyncio.run(main())
