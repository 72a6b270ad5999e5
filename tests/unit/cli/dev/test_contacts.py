"""Reports of contact outside effects: file and line, what, the line itself, what to do; once."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.cli.dev.contacts import lines
from perdure.runtime.audit import Audit, Contact
from perdure.testing.local import LocalRuns

AGENT = """
from pathlib import Path
import perdure

@perdure.step
async def kept(path: str) -> None:
    Path(path).write_text("in an effect")

async def agent(path: str) -> str:
    await kept(path)
    for n in range(3):
        Path(path).write_text(f"round {n}")
    return "written"
"""


async def test_each_line_is_told_of_once_and_effects_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "agent.py"
    file.write_text(AGENT)
    names: dict[str, object] = {"__name__": "agent"}
    exec(compile(AGENT, str(file), "exec"), names)
    told: list[Contact] = []
    audit = Audit(told.append)
    audit.start()
    try:
        async with LocalRuns(names["agent"]) as runs:
            await runs.run("agent", str(tmp_path / "out"))
            await runs.run("agent", str(tmp_path / "out"))
    finally:
        audit.stop()
    (contact,) = [one for one in told if one.file == str(file)]
    monkeypatch.chdir(tmp_path)
    first, source, advice = (text.plain for text in lines(contact))
    assert first == f"  ! agent.py:12 writes a file outside any effect: {tmp_path / 'out'}"
    assert source.strip() == 'Path(path).write_text(f"round {n}")'
    assert "@perdure.step" in advice


def test_a_line_that_cannot_be_read_is_left_out() -> None:
    contact = Contact("opens a connection", "('::1', 80)", "<string>", 3, "run")
    assert [text.plain[:14] for text in lines(contact)] == ["  ! <string>:3", "      It happe"]
