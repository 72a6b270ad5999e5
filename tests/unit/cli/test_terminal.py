"""What people see: durations, tables in narrow terminals, trees, waits, examples."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from perdure.cli.terminal import output
from perdure.cli.terminal.banner import example
from perdure.cli.terminal.times import age, short
from perdure.cli.terminal.waits import explain, explain_all

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 ms"), (0, "0 ms"), (0.0124, "12 ms"), (1.239, "1.24 s"), (12.34, "12.3 s"),
        (59.96, "1m 00s"), (125, "2m 05s"), (7300, "2h 01m"), (200_000, "2d 7h"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert short(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0s"), (59, "59s"), (119, "1m"), (7200, "2h"), (90_000, "1d")]
)
def test_ages(seconds: float, text: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), NOW) == text


class Terminal:
    """A stdout that says it is one, this wide."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        console = Console(width=width, force_terminal=False, highlight=False)
        monkeypatch.setattr(output, "stdout", lambda: console)


COLUMNS = ("RUN", "STATE", "TOOK", "ABOUT")
ROWS = [("a" * 36, "waiting", "3m 10s", "for the signal approval"), ("b" * 36, "queued", "", "")]


@pytest.mark.parametrize("width", [200, 80, 60, 50])
def test_a_table_never_breaks_its_lines(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Terminal(monkeypatch, width)
    output.table(COLUMNS, ROWS, shrink=3, optional=(2,))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
    assert lines[1].startswith("a" * 36)
    assert ("for the signal approval" in lines[1]) == (width >= 80)
    assert ("3m 10s" in lines[1]) == (width >= 80)


def test_a_column_with_nothing_in_it_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Terminal(monkeypatch, 80)
    output.table(COLUMNS, [ROWS[1]], shrink=3, optional=(2,))
    assert "ABOUT" not in capsys.readouterr().out


def test_pipes_get_everything(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    output.table(COLUMNS, [("run", "failed", "1 s", long)], shrink=3, optional=(2,))
    assert long in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wait", "told"),
    [
        ({"reason": "signal", "name": "go"}, "perdure signal RUN go"),
        ({"reason": "sleep", "until": NOW.isoformat()}, "sleeps until 20"),
        ({"reason": "retry", "detail": "ValueError: no"}, "tried again: ValueError: no"),
        ({"reason": "run", "name": "run:child-id"}, "perdure runs show child-id"),
        ({"reason": "uncertain", "key": "ab"}, "perdure runs resolve RUN --again"),
        ({"reason": "diverged", "key": "ab"}, "perdure runs resolve RUN --result JSON"),
        ({"reason": "limit", "detail": "too long"}, "a limit stopped it: too long"),
        ({"reason": "quota"}, "quota"),
    ],
)
def test_every_wait_says_what_ends_it(wait: dict[str, Any], told: str) -> None:
    assert told in "\n".join(explain(wait, "RUN"))


def test_two_questions_are_told_apart_by_their_keys() -> None:
    waits = [{"reason": "uncertain", "key": "ab"}, {"reason": "uncertain", "key": "cd"}]
    text = "\n".join(line for _, line in explain_all(waits, "RUN"))
    assert "resolve RUN ab --again" in text
    assert "resolve RUN cd --again" in text


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (None, "hello"),
        ({"type": "string"}, "hello"),
        ({"type": "integer"}, 1),
        ({"enum": ["a", "b"]}, "a"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        (
            {
                "type": "object",
                "properties": {"q": {"type": "string"}, "n": {"type": "integer"}},
                "required": ["q"],
            },
            {"q": "hello"},
        ),
        ({"type": "array", "items": {"type": "boolean"}}, [True]),
        ({"type": "null"}, None),
    ],
)
def test_example_inputs_follow_the_schema(schema: dict[str, Any] | None, value: Any) -> None:
    assert example(schema) == value
