"""New projects: what is written, and what is never overwritten."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perdure.cli.init.skeleton import FOLDER, FRAMEWORKS, files
from perdure.config import load
from tests.unit.cli.conftest import Call

NAMES = {
    ".gitignore", "README.md", "agent.py", "perdure.toml", "pytest.ini", "requirements.txt",
    "test_agent.py",
}  # fmt: skip


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_project_is_whole(framework: str, tmp_path: Path) -> None:
    found = files(framework, "clerk")
    assert set(found) == NAMES
    assert found["README.md"].startswith("# clerk\n")
    assert FRAMEWORKS[framework].key in found["README.md"]
    assert not [name for name, text in found.items() if re.search("@[A-Z]+@", text)]
    compile(found["agent.py"], "agent.py", "exec")
    (tmp_path / "perdure.toml").write_text(found["perdure.toml"])
    assert load(tmp_path / "perdure.toml", environ={}).agents["agent"].max_model_calls == 50


def test_every_framework_has_its_folder_and_no_other() -> None:
    names = {path.name for path in FOLDER.iterdir() if path.name != "__pycache__"}
    assert names == {"common", *(name.replace("-", "_") for name in FRAMEWORKS)}


def test_nothing_is_written_where_one_file_is_there_already(call: Call, folder: Path) -> None:
    (folder / "new").mkdir()
    (folder / "new" / "agent.py").write_text("mine")
    said = call("init", "new", "--framework", "langgraph")
    assert said.code == 5
    assert "agent.py already; nothing was written" in said.err
    assert [path.name for path in (folder / "new").iterdir()] == ["agent.py"]
    assert (folder / "new" / "agent.py").read_text() == "mine"


def test_it_says_what_it_wrote_and_what_comes_next(call: Call, folder: Path) -> None:
    said = call("init", "deep/clerk")
    assert said.code == 0, said.err
    assert {Path(line).name for line in said.out.splitlines()} == NAMES
    assert "cd deep/clerk" in said.err
    assert "perdure dev agent.py:agent" in said.err
    assert (folder / "deep/clerk/.gitignore").read_text().startswith(".perdure/")


def test_a_place_that_cannot_be_written_to_is_an_error(call: Call, folder: Path) -> None:
    (folder / "file").write_text("")
    said = call("init", "file/new")
    assert said.code == 2
    assert "cannot be written to" in said.err


def test_an_unknown_framework_is_told_of_the_known_ones(call: Call) -> None:
    said = call("init", "--framework", "langgrph")
    assert said.code == 2
    assert "'langgraph'" in said.err
