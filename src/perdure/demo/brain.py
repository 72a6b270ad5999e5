"""What plays the model when there is none: it answers the demo agent's prompts from the documents
that stand in them. A pure function of the request, so that the same question gets the same answer.
"""

from __future__ import annotations

import re

from perdure.testing.simulator import Call, Reply

# Seconds until the first token: long enough to watch, short enough to wait for.
FASTEST, SLOWEST = 0.2, 0.5
_DOCUMENT = re.compile(r"^Document (\S+):\n\n(.*)\n\nNote in two", re.MULTILINE | re.DOTALL)
_NOTES = re.compile(r"^Notes:\n(.*)\n\n(Outline|Write) ", re.MULTILINE | re.DOTALL)
_LISTED = re.compile(r"^- (\S+)$", re.MULTILINE)
_CODE = re.compile(r"```.*?(```|\Z)", re.DOTALL)
_MARKUP = re.compile(r"\[([^\]]*)\]\([^)]*\)|[*`|]+")


def step_of(prompt: str) -> str:
    """The agent's step that asks: ``plan``, a document's name, ``outline`` or ``report``."""
    if found := _DOCUMENT.search(prompt):
        return found[1]
    if found := _NOTES.search(prompt):
        return "outline" if found[2] == "Outline" else "report"
    return "plan"


def research(call: Call) -> Reply:
    """The simulator's brain."""
    delay = FASTEST + (SLOWEST - FASTEST) * int(call.digest[:4], 16) / 0xFFFF
    return Reply(answer(call.prompt), delay=delay)


def answer(prompt: str) -> str:
    """What the model says to ``prompt``."""
    if document := _DOCUMENT.search(prompt):
        return " ".join(sentences(document[2])[:2]) or "It says nothing about the question."
    if notes := _NOTES.search(prompt):
        lines = [line for line in notes[1].splitlines() if line]
        return _outline(lines) if notes[2] == "Outline" else _report(lines)
    names = _LISTED.findall(prompt)
    return f"Read all {len(names)} documents for what each says. Then put it in one order."


def sentences(text: str) -> list[str]:
    """The sentences of a document's prose: no headings, tables, lists of links or code."""
    prose = []
    for block in _CODE.sub("", text).split("\n\n"):
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith(("#", "|", "=", "-", "<", "!", "["))]
        if lines:
            prose.append(_MARKUP.sub(lambda m: m[1] or "", " ".join(lines)).strip())
    found = [part.strip() for block in prose for part in re.split(r"(?<=[.!?])\s+", block)]
    return [part for part in found if len(part) > 30 and part[-1] in ".!?"]


def _outline(notes: list[str]) -> str:
    names = [note.partition(":")[0].removesuffix(".md") for note in notes]
    groups = [names[at : at + 2] for at in range(0, len(names), 2)][:5]
    return "\n".join(f"{n}. {' and '.join(group)}" for n, group in enumerate(groups, 1))


def _report(notes: list[str]) -> str:
    lines = []
    for note in notes:
        name, _, text = note.partition(": ")
        lines.append(f"{' '.join(text.split()[:40])} ({name})")
    return "\n".join(["# Report", "", *lines])
