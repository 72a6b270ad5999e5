"""A brain that plays a research agent: it uses the tools it is offered, then writes a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perdure.testing.simulator.brain import Brain, Reply, ToolUse
from perdure.testing.simulator.call import Call, ToolResult

__all__ = ["example", "research"]

_ANGLES = ("overview", "history", "numbers", "critics", "alternatives", "outlook")


def research(rounds: int = 3, *, parallel: int = 1, pace: float = 0.0, delay: float = 0.0) -> Brain:
    """A deterministic plan: in each of ``rounds`` turns ``parallel`` tool calls, taken in order
    from the tools offered, with arguments made from their JSON schemas and the user's question;
    then a report over all results. Without tools the report comes at once.

    Raises ValueError when ``parallel`` is below 1 or ``rounds`` below 0.
    """
    if parallel < 1 or rounds < 0:
        raise ValueError("research() needs rounds >= 0 and parallel >= 1")

    def plan(call: Call) -> Reply:
        question = next((m.text for m in call.messages if m.role == "user"), "")
        if call.tools and call.turn < rounds:
            first = call.turn * parallel
            uses = []
            for step in range(first, first + parallel):
                tool = call.tools[step % len(call.tools)]
                topic = f"{question} ({_ANGLES[step % len(_ANGLES)]})"
                args = example(tool.schema, topic, step)
                uses.append(ToolUse(tool.name, args if isinstance(args, dict) else {}))
            text = f"Round {call.turn + 1} of {rounds}: looking at {question!r}."
            return Reply(text, tools=uses, pace=pace, delay=delay)
        return Reply(_report(question, call), pace=pace, delay=delay)

    return plan


def _report(question: str, call: Call) -> str:
    results = [p for m in call.messages for p in m.parts if isinstance(p, ToolResult)]
    lines = [f"# {question}", ""]
    lines += [f"{n}. {' '.join(r.content.split())[:200]}" for n, r in enumerate(results, 1)]
    lines += ["", f"Based on {len(results)} sources."]
    return "\n".join(lines)


def example(schema: Mapping[str, Any], topic: str, step: int) -> Any:
    """A value that fits a JSON schema: required properties only (all, when none is required),
    strings say the topic, numbers the step within their bounds, enums cycle. ``$ref`` is followed
    into ``$defs`` of the same schema."""
    return _example(schema, schema, topic, step)


def _example(root: Mapping[str, Any], schema: Mapping[str, Any], topic: str, step: int) -> Any:
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        found = (root.get("$defs") or root.get("definitions") or {}).get(name, {})
        return _example(root, found, topic, step)
    if "const" in schema:
        return schema["const"]
    if "default" in schema:
        return schema["default"]
    if schema.get("enum"):
        return schema["enum"][step % len(schema["enum"])]
    for union in ("anyOf", "oneOf", "allOf"):
        if schema.get(union):
            return _example(root, schema[union][0], topic, step)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    match kind:
        case "object":
            properties: Mapping[str, Any] = schema.get("properties") or {}
            wanted = schema.get("required") or list(properties)
            return {name: _example(root, properties.get(name, {}), topic, step) for name in wanted}
        case "array":
            return [_example(root, schema.get("items") or {}, topic, step)]
        case "integer" | "number":
            low, high = schema.get("minimum", 1), schema.get("maximum")
            value = max(low, step + 1)
            return value if high is None else min(value, high)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return topic
