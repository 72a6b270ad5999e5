"""Where two runs part, for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from rich.text import Text

from perdure.cli.branches import short
from perdure.cli.offline.comparison import ANSWER, EFFECT, REQUEST, Comparison, Difference, diff
from perdure.cli.offline.sides import Side, value
from perdure.cli.terminal.output import stdout
from perdure.core.words import counted

LONGEST = 300  # characters of a value that is shown on one line
STYLES = {"+": "green", "-": "red", "@": "cyan"}


def print_comparison(found: Comparison) -> None:
    """All of it, on stdout; names as in the diff: a and b."""
    for name, export in (("a", found.a), ("b", found.b)):
        run = export.run
        _say(f"{name}  {run.id}  {run.agent}, {run.state}", "dim")
    if not found.same_input:
        _say("The inputs differ:", "bold")
        _diff(diff(value(found.a.run.input, found.a), value(found.b.run.input, found.b), "a", "b"))
    if found.first is None:
        _say(f"The effects are alike in both ({found.alike}).", "green" if found.same else "")
    else:
        _first(found.first, found.alike)
        if found.differences > 1:
            _say(
                f"{counted(found.differences - 1, 'more branch parts', 'more branches part')}.",
                "dim",
            )
    if found.first is None and not found.same_end:
        _say("They end differently:", "bold")
        _diff(diff(_end(found.a), _end(found.b), "a", "b"))


def _first(first: Difference, alike: int) -> None:
    side = first.a or first.b
    assert side is not None
    inside = "".join(f" inside {name}" for name in reversed(first.path))
    name = short([side.branch])[side.branch]
    branch = f" in branch {name}" if name else ""
    _say(
        f"After {counted(alike, 'effect that is', 'effects that are')} alike they part"
        f"{branch}{inside}:",
        "bold",
    )
    if first.how == REQUEST:
        _say(f"{side.kind} {side.name} is asked for otherwise.")
    elif first.how == ANSWER:
        _say(f"{side.kind} {side.name} was asked for alike and gave something else.")
    elif first.how != EFFECT:
        _say(f"{side.kind} {side.name} is {first.how}.")
    lines = first.diff("a", "b")
    if first.how != ANSWER:
        for name, one in (("a", first.a), ("b", first.b)):
            _side(name, one, asked=not lines)
    if first.how == REQUEST and not lines:
        _say(
            "Of what it was asked only a digest is kept, or it differs in what is not shown.", "dim"
        )
    if first.how != EFFECT:
        _diff(lines)


def _side(name: str, side: Side | None, *, asked: bool) -> None:
    if side is None:
        _say(f"  {name}  nothing")
        return
    _say(f"  {name}  {side.kind} {side.name}, {side.state} (event {side.seq})")
    if asked and side.asked is not None:
        _say(f"       asked   {_short(side.asked)}", "dim")
    if side.gave is not None:
        _say(f"       answer  {_short(side.gave)}", "dim")


def _diff(lines: Iterable[str]) -> None:
    for line in lines:
        _say(line, STYLES.get(line[:1], ""))


def _say(text: str, style: str = "") -> None:
    stdout().print(Text(text, style=style), soft_wrap=True)


def _short(what: Any) -> str:
    text = orjson.dumps(what).decode()
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _end(export: Any) -> Any:
    run = export.run
    return {
        "state": run.state.value,
        "result": value(run.result, export),
        "error": {k: v for k, v in (run.error or {}).items() if k in ("type", "message")},
    }
