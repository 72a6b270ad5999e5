"""What counts as a change of the code that is served."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from perdure.cli.dev.files import Change, Files, loaded


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "agent.py"
    write(path, "one\ntwo\nthree\n")
    return path


CLOCK = iter(range(1, 10_000))


def write(path: Path, text: str) -> None:
    """With a time of its own: two writes may fall into one tick of the file system's clock."""
    path.write_text(text)
    tick = next(CLOCK) * 10**9
    os.utime(path, ns=(tick, tick))


def test_changed_lines_are_counted(agent: Path) -> None:
    files = Files()
    files.follow([str(agent)])
    assert files.look() == []
    write(agent, "one\n2\nthree\nfour\n")
    (change,) = files.look()
    assert change == Change(str(agent), "changed", added=2, removed=1)
    assert str(change) == "agent.py changed (+2 −1)"
    assert files.look() == []


def test_a_file_that_was_only_touched_did_not_change(agent: Path) -> None:
    files = Files()
    files.follow([str(agent)])
    write(agent, agent.read_text())
    assert files.look() == []


def test_files_come_and_go(agent: Path) -> None:
    files, settings = Files(), agent.parent / "perdure.toml"
    files.follow([str(agent), str(settings)])
    write(settings, "[store]\n")
    assert [str(change) for change in files.look()] == ["perdure.toml new"]
    agent.unlink()
    assert [str(change) for change in files.look()] == ["agent.py gone"]
    write(agent, "again\n")
    assert [str(change) for change in files.look()] == ["agent.py new"]


def test_other_files_count_only_while_an_import_fails(agent: Path) -> None:
    files, other = Files(), agent.parent / "tools.py"
    write(other, "a\n")
    files.follow([str(agent)])
    write(other, "b\n")
    assert files.look() == []
    assert [str(change) for change in files.look(wide=True)] == ["tools.py changed (+1 −1)"]
    write(agent.parent / "missing.py", "c\n")
    write(agent.parent / ".#agent.py", "an editor's own\n")
    # Following again, as at every look, makes nothing known that was not looked at.
    files.follow([str(agent)])
    assert [str(change) for change in files.look(wide=True)] == ["missing.py new"]


def test_files_elsewhere_are_named_in_full(agent: Path, tmp_path: Path) -> None:
    assert str(Change("/elsewhere/agent.py", "changed")) == "/elsewhere/agent.py changed"


def test_what_was_loaded_is_neither_pythons_nor_perdures(
    agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = type(sys)("agent_of_this_test")
    module.__file__ = str(agent)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    found = loaded()
    assert str(agent.resolve()) in found
    assert not [path for path in found if "site-packages" in path or "/perdure/cli/" in path]
    assert not [path for path in found if path.endswith("/json/__init__.py")]
