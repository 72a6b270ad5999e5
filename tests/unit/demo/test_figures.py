"""The figures tell a broken promise: each is broken here on purpose."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from perdure.demo.table import page
from tests.unit.demo.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_kept_promises(stage: Stage) -> None:
    figures = stage.measure()
    assert figures.broken == ()
    assert not figures.slow
    plain, perdure = figures.plain, figures.perdure
    assert (plain.calls_finished, plain.resent_in_flight, plain.paid_twice) == (5, 1, 1)
    assert (perdure.calls_finished, perdure.resent_in_flight, perdure.paid_twice) == (4, 1, 0)
    assert (plain.tool_calls_repeated, perdure.tool_calls_repeated) == (1, 0)
    assert plain.seconds_to_next_step == 1.25
    assert perdure.seconds_to_next_step == 0.25
    # Haiku 5.5: $0.10 in, $0.50 out per million tokens; the call in flight is paid too.
    assert plain.cost == pytest.approx(6 * (100 * 0.10 + 10 * 0.50) / 1e6)
    assert perdure.cost == pytest.approx(5 * (100 * 0.10 + 10 * 0.50) / 1e6)


def test_a_journaled_call_that_is_sent_again_is_paid_twice(stage: Stage) -> None:
    stage.send(stage.durable, "plan", 8.0)
    figures = stage.measure()
    assert figures.perdure.paid_twice == 1
    assert "1 journaled model call was paid twice" in figures.broken


def test_two_equal_questions_are_two_entries_and_not_paid_twice(stage: Stage) -> None:
    stage.send(stage.durable, "plan", 8.0)
    stage.journal("plan")
    stage.durable.log[-1] = stage.durable.log[-1]._replace(key=b"second occurrence")
    assert stage.measure().perdure.paid_twice == 0


def test_a_call_that_the_journal_does_not_know(stage: Stage) -> None:
    del stage.durable.log[-1]
    figures = stage.measure()
    assert figures.perdure.unjournaled == 1
    assert "1 model call is not in the journal" in figures.broken


def test_a_tool_call_that_was_completed_twice(stage: Stage) -> None:
    stage.log(stage.durable, "read_document(a.md)", "read_document(a.md)")
    assert "1 completed tool call was repeated" in stage.measure().broken


def test_nobody_was_killed(stage: Stage) -> None:
    stage.durable.killed_at = None
    assert any("nothing was killed" in words for words in stage.measure().broken)


def test_another_report(stage: Stage) -> None:
    stage.durable.report = "Another."
    assert any("report differs" in words for words in stage.measure().broken)


def test_a_slow_machine_is_told_and_a_death_that_was_waited_out_is_a_broken_promise(
    stage: Stage,
) -> None:
    stage.durable.killed_at = 1.0 - 1.0
    figures = stage.measure()
    assert figures.slow
    assert figures.broken == ()
    stage.durable.killed_at = 1.0 - 10.0
    assert stage.measure().broken == ("the other worker took 10.25 s to go on",)


def test_the_page_says_what_broke(stage: Stage) -> None:
    stage.send(stage.durable, "plan", 8.0)
    out = StringIO()
    Console(file=out, width=80).print(page(stage.measure(), "simulated"))
    text = out.getvalue()
    assert "PROMISE BROKEN" in text
    assert "journaled and paid twice" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
