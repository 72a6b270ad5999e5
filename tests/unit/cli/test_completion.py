"""Completion in shells: scripts, and the names of the store."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from perdure.cli.completion import SHELLS, VARIABLE
from perdure.cli.main import command
from tests.unit.cli.conftest import Call

AGENT = """
async def greeter(name: str) -> str:
    '''Greets people.'''
    return name
"""


def offered(*words: str) -> list[tuple[str, str | None]]:
    """What is offered for the last word."""
    complete = ShellComplete(command, {}, "perdure", VARIABLE)
    found = complete.get_completions(list(words[:-1]), words[-1])
    return [(item.value, item.help) for item in found]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_that_its_shell_takes(shell: str, call: Call) -> None:
    said = call("completion", shell)
    assert said.code == 0
    assert VARIABLE in said.out
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([found, "-n"], input=said.out.encode(), check=True, timeout=30)


def test_commands_and_options(folder: Path) -> None:
    assert [value for value, _ in offered("ru")] == ["run", "runs"]
    assert "watch" in [value for value, _ in offered("runs", "")]
    assert [value for value, _ in offered("run", "--fol")] == ["--follow"]
    assert [value for value, _ in offered("init", "--framework", "pyd")] == ["pydantic-ai"]


def test_runs_and_agents_of_the_store(call: Call, folder: Path) -> None:
    (folder / "cases.py").write_text(AGENT)
    run_id = call("run", "cases.py:greeter", "ada", "--json").json["id"]
    for words in (("runs", "show"), ("runs", "watch"), ("signal",), ("runs", "cancel")):
        ((value, about),) = offered(*words, run_id[:4])
        assert value == run_id
        assert about is not None
        assert about.startswith("greeter succeeded ")
    assert offered("runs", "list", "--agent", "gr") == [("greeter", "Greets people.")]
    assert ("greeter", "Greets people.") in offered("run", "g")
    assert offered("runs", "show", "no-such") == []


def test_without_a_store_nothing_is_offered_and_nothing_made(folder: Path) -> None:
    assert offered("runs", "show", "") == []
    assert offered("runs", "show", "--store", "postgresql://127.0.0.1:1/none", "") == []
    assert list(folder.iterdir()) == []


def test_targets_are_files(folder: Path) -> None:
    complete = ShellComplete(command, {}, "perdure", VARIABLE)
    (item,) = complete.get_completions(["dev"], "ag")
    assert (item.type, item.value) == ("file", "ag")


def test_every_run_and_agent_can_be_completed() -> None:
    """Whatever takes a run's id says so, so that shells know."""
    from docs.generate import commands

    names = {"run_id", "run_ids"}
    for name, one in commands():
        for parameter in one.params:
            if parameter.name in names and isinstance(parameter, click.Argument):
                assert parameter.type.name == "run", name
