from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from perdure.demo.screen import Lines, Panels
from perdure.demo.side import Attempt, Story
from tests.unit.demo.stage import Stage


def draw(stage: Stage, width: int, height: int) -> list[str]:
    out = StringIO()
    console = Console(file=out, width=width, height=height)
    panels = Panels(console)
    panels.open((stage.plain, stage.durable))
    panels.close()
    out.truncate(0)
    out.seek(0)
    console.print(panels)
    return out.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (60, 16)])
def test_the_panels_fit_their_window(tmp_path: Path, width: int, height: int) -> None:
    lines = draw(Stage(tmp_path), width, height)
    assert len(lines) <= height - 4, "the lines above and below have room too"
    assert max(map(cell_len, lines)) <= width


def test_the_panels_show_kill_and_replay(tmp_path: Path) -> None:
    text = "\n".join(draw(Stage(tmp_path), 100, 30))
    assert "kill -9 1" in text
    assert "there after 0.25 s" in text
    assert "●✗" in text
    assert "↻" in text


def test_before_the_first_call_and_after_the_kill_it_says_what_it_waits_for(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path)
    for side in (stage.plain, stage.durable):
        side.ended = None
    stage.plain.meter.calls.clear()
    stage.plain.attempts.clear()
    stage.plain.killed_at = None
    del stage.durable.meter.calls[2:]
    stage.durable.attempts[-1] = Attempt("worker 2", 2, 2, replayed=1)
    assert (stage.plain.state, stage.durable.state) == ("starting", "killed")
    text = "\n".join(draw(stage, 100, 30))
    assert "Python imports LangGraph" in text
    assert "the other worker takes over" in text


def test_lines_say_each_call_once(tmp_path: Path) -> None:
    stage, out = Stage(tmp_path), StringIO()
    lines = Lines(Console(file=out, width=60), Story())
    lines.open((stage.plain, stage.durable))
    lines.changed()
    lines.changed()
    lines.close()
    said = out.getvalue().splitlines()
    assert len(said) == len(stage.plain.meter.calls) + len(stage.durable.meter.calls)
    assert "plain    call 2: a.md (answered too late)" in said[1]
