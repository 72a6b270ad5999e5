"""What ``perdure dev`` says when it is ready."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from perdure import __version__
from perdure.cli.terminal.output import stderr
from perdure.runtime.agent import Agent

DEPTH = 4  # how deep an example input goes


def banner(agents: Mapping[str, Agent], url: str, store: str, *, page: bool = False) -> None:
    """Print it, with a line to be copied. ``page``: there is something for a browser."""
    from rich.text import Text

    console = stderr()
    label = "dim" if console.is_terminal else ""

    def row(name: str, *lines: str, style: str = "") -> None:
        for i, line in enumerate(lines):
            text = Text(f"  {name if not i else '':<8}", style=label).append(line, style=style)
            console.print(text, soft_wrap=True)

    console.print()
    console.print(Text("  Perdure ", style="bold").append(__version__, style=label))
    console.print()
    row("URL", url, style="bold" if console.is_terminal else "")
    if page:
        row("", "Open it in a browser: agents, runs, a form to start one.", style=label)
    row("Agents", ", ".join(agents))
    row("Store", store)
    console.print()
    row("Try", *curl(next(iter(agents.values())), url))
    console.print()
    row("", "Ctrl-C: runs end between two effects and go on at the next start.", style=label)
    console.print()


def curl(agent: Agent, url: str) -> list[str]:
    """A command that runs the agent, in lines that can be pasted as they are."""
    schema = agent.schema() if agent.schema is not None else None
    body = json.dumps({"input": example(schema)}, ensure_ascii=False)
    return [
        f"curl -s {url}/api/agents/{agent.name}/runs \\",
        "  -H 'content-type: application/json' -H 'prefer: wait=60' \\",
        f"  -d {shlex.quote(body)}",
    ]


def example(schema: Mapping[str, Any] | None, depth: int = 0) -> Any:
    """A value that a JSON Schema takes, for people to change."""
    if not schema or depth > DEPTH:
        return "hello"
    for key in ("default", "const"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return example(schema[key][0], depth + 1)
    kind = schema.get("type")
    if kind == "object":
        properties = schema.get("properties", {})
        names = schema.get("required", list(properties))
        return {name: example(properties.get(name), depth + 1) for name in names}
    if kind == "array":
        return [example(schema.get("items"), depth + 1)]
    simple: dict[Any, Any] = {"integer": 1, "number": 1.0, "boolean": True, "null": None}
    return simple.get(kind, "hello")
