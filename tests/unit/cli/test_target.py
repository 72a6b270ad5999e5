"""TARGET: what it finds, what it is called, and what it says when it finds nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from perdure.cli import target
from perdure.errors import TargetError

AGENT = "async def agent(x: str) -> str:\n    return x\n"


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_function_is_named_after_its_attribute(folder: Path) -> None:
    write(folder, "one.py", "async def original(x): return x\nalias = original\n")
    assert list(target.load("one.py:alias").agents) == ["alias"]


def test_the_attribute_may_be_left_out_where_there_is_one(folder: Path) -> None:
    write(folder, "one.py", AGENT + "import perdure\n@perdure.step\nasync def helper(): ...\n")
    assert list(target.load("one.py").agents) == ["agent"]
    write(folder, "app.py", AGENT + "import perdure\napp = perdure.App()\napp.add(agent)\n")
    assert list(target.load("app.py").agents) == ["agent"]


def test_several_agents_have_to_be_told_apart(folder: Path) -> None:
    write(folder, "two.py", "def a(x): ...\ndef b(x): ...\n")
    with pytest.raises(TargetError, match="several agents") as caught:
        target.load("two.py")
    assert caught.value.hint == "Say which: two.py:a, two.py:b"


def test_a_function_of_an_app_keeps_its_policy(folder: Path) -> None:
    write(
        folder,
        "policed.py",
        "import perdure\napp = perdure.App()\n"
        "@app.agent(name='careful', timeout=5)\ndef work(x): ...\n@app.agent\ndef other(x): ...\n",
    )
    found = target.load("policed.py:work").agents
    assert list(found) == ["careful"]
    timeout = found["careful"].policy.timeout
    assert timeout is not None
    assert timeout.total_seconds() == 5


def test_a_module_is_found_from_the_current_folder(folder: Path) -> None:
    write(folder, "package_here/inner.py", AGENT)
    write(folder, "package_here/__init__.py", "")
    assert list(target.load("package_here.inner:agent").agents) == ["agent"]


def test_a_file_in_a_package_may_import_its_neighbours(folder: Path) -> None:
    write(folder, "pack/__init__.py", "")
    write(folder, "pack/neighbour.py", "VALUE = 1\n")
    write(folder, "pack/main.py", "from .neighbour import VALUE\n" + AGENT)
    assert list(target.load("pack/main.py:agent").agents) == ["agent"]


def test_a_files_folder_comes_first_on_the_path(folder: Path) -> None:
    write(folder, "deep/beside.py", "VALUE = 1\n")
    write(folder, "deep/main_file.py", "from beside import VALUE\n" + AGENT)
    target.load("deep/main_file.py")
    assert sys.path[0] == str(folder / "deep")


def test_a_file_named_like_a_library_is_still_this_file(folder: Path) -> None:
    write(folder, "json.py", AGENT)
    assert list(target.load("json.py:agent").agents) == ["agent"]
    import json

    assert json.loads("1") == 1


def test_a_missing_file_names_a_similar_one(folder: Path) -> None:
    write(folder, "agent.py", AGENT)
    with pytest.raises(TargetError, match=r"There is no file agnt\.py") as caught:
        target.load("agnt.py:agent")
    assert caught.value.hint == "Did you mean agent.py?"
    with pytest.raises(TargetError) as caught:
        target.load("nowhere/agent.py")
    assert caught.value.hint == "There is no folder nowhere either."


def test_a_missing_module_says_which(folder: Path) -> None:
    with pytest.raises(TargetError, match="There is no module 'no_such_module'"):
        target.load("no_such_module:agent")


def test_routes_beside_agents_are_not_listed_as_agents(folder: Path) -> None:
    lines = "import perdure\napp = perdure.App()\n@app.agent\n" + AGENT + "def route(): ...\n"
    write(folder, "web.py", lines)
    with pytest.raises(TargetError) as caught:
        target.load("web.py:zzz")
    assert caught.value.hint == "Agents there: app, agent"


def test_a_missing_attribute_lists_the_agents(folder: Path) -> None:
    write(folder, "one.py", AGENT + "import os\nVALUE = 3\n")
    with pytest.raises(TargetError, match=r"one\.py has no 'zzz'") as caught:
        target.load("one.py:zzz")
    assert caught.value.hint == "Agents there: agent"
    with pytest.raises(TargetError) as caught:
        target.load("one.py:agnt")
    assert caught.value.hint == "Did you mean 'agent'?"


def test_what_is_no_agent_is_refused(folder: Path) -> None:
    write(folder, "one.py", AGENT + "VALUE = 3\nimport os\nclass Thing: ...\n")
    with pytest.raises(TargetError, match="is a int: no agent"):
        target.load("one.py:VALUE")
    with pytest.raises(TargetError, match="is a module: no agent"):
        target.load("one.py:os")
    with pytest.raises(TargetError, match="is the class Thing: no agent"):
        target.load("one.py:Thing")


def test_an_import_error_shows_the_users_own_line(folder: Path) -> None:
    write(folder, "broken.py", "def inner():\n    return {}['missing']\n\ninner()\n")
    with pytest.raises(TargetError) as caught:
        target.load("broken.py:agent")
    told = caught.value.message
    assert "broken.py cannot be imported" in told
    assert 'broken.py", line 2, in inner' in told
    assert "KeyError: 'missing'" in told
    assert "importlib" not in told
    assert "perdure/cli" not in told


def test_a_missing_library_names_the_environment(folder: Path) -> None:
    write(folder, "needs.py", "import no_such_library\n")
    with pytest.raises(TargetError, match="no_such_library") as caught:
        target.load("needs.py")
    assert caught.value.hint is not None
    assert sys.executable in caught.value.hint


def test_a_missing_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "graphs.py", "import langgraph.graph\n")
    monkeypatch.setitem(sys.modules, "langgraph", None)
    with pytest.raises(TargetError) as caught:
        target.load("graphs.py")
    assert caught.value.hint == "pip install 'perdure[langgraph]'"


def test_a_syntax_error_shows_the_place(folder: Path) -> None:
    write(folder, "wrong.py", "def agent(:\n")
    with pytest.raises(TargetError, match="SyntaxError") as caught:
        target.load("wrong.py")
    assert "line 1" in caught.value.message


def test_a_file_that_exits_says_so(folder: Path) -> None:
    write(folder, "quits.py", "import sys\nsys.exit(3)\n")
    with pytest.raises(TargetError, match=r"called sys\.exit\(3\)"):
        target.load("quits.py")


def test_an_empty_app_says_what_to_do(folder: Path) -> None:
    write(folder, "empty.py", "import perdure\napp = perdure.App()\n")
    with pytest.raises(TargetError, match="holds no agents"):
        target.load("empty.py:app")


def test_what_looks_like_a_target(folder: Path) -> None:
    write(folder, "importable.py", AGENT)
    assert target.looks_like_target("x:y")
    assert target.looks_like_target("x.py")
    assert target.looks_like_target("a/b")
    assert target.looks_like_target("importable")
    assert not target.looks_like_target("research-agent")
    assert not target.looks_like_target("research")
