"""The root: help, errors, exit codes, and that nothing is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from perdure import __version__
from perdure.cli.lazy import LazyGroup
from perdure.cli.main import command
from tests.unit.cli.conftest import Call

HEAVY = {"rich", "pydantic", "starlette", "uvicorn", "httpx2", "orjson", "asyncio", "sqlite3"}


def every_command() -> Iterator[tuple[list[str], click.Command]]:
    def walk(path: list[str], group: click.Group) -> Iterator[tuple[list[str], click.Command]]:
        context = click.Context(group)
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            assert found is not None
            yield [*path, name], found
            if isinstance(found, click.Group):
                yield from walk([*path, name], found)

    return walk([], command)


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["runs", "--help"]])
def test_help_imports_click_and_little_else(args: list[str]) -> None:
    code = (
        "import sys; from perdure.cli.main import main; "
        f"main({args!r}); print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stderr.strip() == "[]"
    assert found.stdout


def test_every_command_shows_its_help(call: Call) -> None:
    for path, found in every_command():
        said = call(*path, "--help")
        assert said.code == 0
        assert " ".join(path) in said.out
        assert found.help, path


def test_lists_say_what_the_commands_say_themselves() -> None:
    groups: list[tuple[list[str], click.Command]] = [([], command), *every_command()]
    for path, group in groups:
        if isinstance(group, LazyGroup):
            for name, entry in group.entries.items():
                found = group.get_command(click.Context(group), name)
                assert found is not None
                first = (found.help or "").partition("\n\n")[0].replace("\n", " ").strip()
                assert first == entry.help, (path, name)


def test_version(call: Call) -> None:
    assert call("--version").out == f"perdure {__version__}\n"


def test_no_arguments_show_help(call: Call) -> None:
    said = call()
    assert said.code == 2
    assert "Commands:" in said.out + said.err


def test_a_wrong_command_names_the_right_one(call: Call) -> None:
    said = call("wroker")
    assert said.code == 2
    assert said.err == (
        "error: There is no command 'wroker'. Did you mean 'worker'?\nTry: perdure --help\n"
    )


def test_a_wrong_option_says_where_to_look(call: Call) -> None:
    said = call("runs", "list", "--limt", "3")
    assert said.code == 2
    assert "Try: perdure runs list --help" in said.err


def test_errors_are_two_lines_and_no_traceback(call: Call) -> None:
    said = call("runs", "list")
    assert said.code == 7
    first, second = said.err.splitlines()
    assert first.startswith("error: There is no database at ")
    assert second.startswith("hint: ")


def test_debug_raises(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from perdure.errors import StoreUnavailable

    with pytest.raises(StoreUnavailable):
        call("--debug", "runs", "list")
    monkeypatch.setenv("PERDURE_LOG_LEVEL", "debug")
    with pytest.raises(StoreUnavailable):
        call("runs", "list")


def test_a_wrong_settings_file_is_an_error_of_its_own(call: Call, folder: Path) -> None:
    (folder / "perdure.toml").write_text("[store]\nulr = 'x'\n")
    said = call("runs", "list")
    assert said.code == 2
    assert "store.ulr" in said.err
    assert "perdure.toml" in said.err
    assert call("runs", "list", "--config", "other.toml").code == 2
