"""``perdure check``: what other code would do to runs that are not over, found out without doing
anything."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Call
from tests.unit.cli.parked import park

AGENTS = """
import asyncio
from pathlib import Path
import perdure
from perdure import sync

CALLS = Path(__file__).with_name("calls")

def called(what):
    with CALLS.open("a") as file:
        file.write(what + "\\n")

@perdure.step
async def look(n: int) -> int:
    called("look")
    return n

@perdure.tool
async def book(n: int) -> int:
    called("book")
    return n + 1

app = perdure.App()

@app.agent
async def clerk(n: int) -> int:
    found = await look(n)
    booked = await book(found)
    await perdure.wait_for("go")
    return booked

@app.agent
async def pair(n: int) -> int:
    a, b = await asyncio.gather(look(n), look(n + 1))
    await perdure.wait_for("go")
    return a + b

@app.agent
def blocking(n: int) -> int:
    sync.wait_for("go")
    return n

@app.agent
async def unlucky(n: int) -> int:
    await look(n)
    raise ConnectionError("the line is down")

@app.agent
async def other(n: int) -> int:
    await perdure.wait_for("go")
    return n
"""


class Checks:
    """Runs that wait, made with AGENTS; ``check`` looks at them with other code."""

    def __init__(self, call: Call, folder: Path) -> None:
        self.call = call
        self.folder = folder
        (folder / "before.py").write_text(AGENTS)
        self._n = 0

    def park(self, agent: str, *values: object) -> list[str]:
        found = park("before.py:app", agent, values or (1,))
        (self.folder / "calls").unlink(missing_ok=True)
        return found

    def write(self, *changes: tuple[str, str]) -> str:
        code = AGENTS
        for old, new in changes:
            assert old in code, old
            code = code.replace(old, new)
        self._n += 1
        (self.folder / f"after{self._n}.py").write_text(code)
        return f"after{self._n}.py:app"

    def found(self, *changes: tuple[str, str], code: int = 0, more: tuple[str, ...] = ()) -> Any:
        """The report, as ``--json`` has it."""
        import json

        said = self.call("check", self.write(*changes), "--json", *more)
        assert said.code == code, (said.out, said.err)
        return json.loads(said.out)

    def one(self, *changes: tuple[str, str], code: int = 0) -> Any:
        (run,) = self.found(*changes, code=code)["runs"]
        return run

    def dump(self) -> list[str]:
        with sqlite3.connect(self.folder / ".perdure" / "perdure.db") as link:
            return list(link.iterdump())


@pytest.fixture
def checks(call: Call, folder: Path) -> Checks:
    return Checks(call, folder)


def test_the_same_code_fits_and_nothing_is_done_or_written(checks: Checks) -> None:
    ids = checks.park("clerk", 1, 2, 3) + checks.park("blocking") + checks.park("pair")
    before = checks.dump()
    found = checks.found()
    assert (found["checked"], found["fits"]) == (5, 5)
    assert {run["run"] for run in found["runs"]} == set(ids)
    clerk = next(run for run in found["runs"] if run["agent"] == "clerk")
    assert (clerk["says"], clerk["answered"], clerk["recorded"]) == (
        "signal 'go' comes next", 2, 2,
    )  # fmt: skip
    assert clerk["at"].startswith("after1.py:")
    assert checks.dump() == before
    assert not (checks.folder / "calls").exists()


def test_a_tool_that_is_asked_for_otherwise_diverges(checks: Checks) -> None:
    checks.park("clerk")
    run = checks.one(("book(found)", "book(found + 1)"), code=20)
    assert run["verdict"] == "diverges"
    assert run["says"] == "asks for tool 'book' with other arguments than recorded"
    line = checks.folder.joinpath("after1.py").read_text().splitlines().index(
        "    booked = await book(found + 1)"
    )  # fmt: skip
    assert run["at"] == f"after1.py:{line + 1}"


def test_the_line_of_a_gathered_effect_is_where_it_is_awaited(checks: Checks) -> None:
    checks.park("pair")
    change = "    a, b = await asyncio.gather(look(7), look(8))"
    run = checks.one(("    a, b = await asyncio.gather(look(n), look(n + 1))", change), code=20)
    lines = checks.folder.joinpath("after1.py").read_text().splitlines()
    assert run["at"] == f"after1.py:{lines.index(change) + 1}"


def test_another_effect_at_the_place_diverges(checks: Checks) -> None:
    checks.park("clerk")
    run = checks.one(("    booked =", "    await look(7)\n    booked ="), code=20)
    assert run["says"] == "asks for step 'look' where tool 'book' is recorded"


def test_an_error_of_the_agents_own_is_no_divergence(checks: Checks) -> None:
    checks.park("clerk")
    raising = ("    booked =", "    if found == 1: raise OSError('odd')\n    booked =")
    run = checks.one(raising, code=22)
    assert (run["verdict"], run["says"]) == (
        "raises",
        "raises OSError: odd; it would be tried again",
    )
    assert run["at"].startswith("after1.py:")
    run = checks.one(("    booked =", "    found.nothing\n    booked ="), code=22)
    assert run["verdict"] == "raises"
    assert run["says"].endswith("has no attribute 'nothing'; the run would fail")
    said = checks.call(
        "check", checks.write(("    booked =", "    assert found == 2\n    booked ="))
    )
    assert said.code == 22
    assert "! raises  clerk: raises AssertionError; it would be tried again" in said.out
    assert "1 unfinished run: 1 raises." in said.out
    assert "Look at one: perdure replay" in said.err


def test_the_last_attempt_that_raises_leaves_a_dead_run(checks: Checks) -> None:
    one_try = (
        "@app.agent\nasync def clerk",
        "@app.agent(retry=perdure.RetryPolicy(attempts=1))\nasync def clerk",
    )
    checks.park("clerk")
    raising = ("    booked =", "    raise OSError('odd')\n    booked =")
    assert checks.one(one_try, raising, code=22)["says"].endswith("; the run would be dead")


def test_runs_that_diverge_go_before_runs_that_raise_in_the_exit_code(checks: Checks) -> None:
    checks.park("clerk", 1, 2, 3)
    odd = "    if n == 1: raise OSError('odd')\n    found ="
    found = checks.found(
        ("    found =", odd), ("book(found)", "book(found if n == 2 else 9)"), code=20
    )
    assert [found[one] for one in ("fits", "diverges", "raises")] == [1, 1, 1]


def test_an_input_that_no_longer_fits_diverges(checks: Checks) -> None:
    checks.park("clerk")
    run = checks.one(("async def clerk(n: int)", "async def clerk(n: list)"), code=20)
    assert run["verdict"] == "diverges"
    assert "InvalidInput" in run["says"]


def test_recorded_work_that_is_not_asked_for_is_a_change(checks: Checks) -> None:
    checks.park("pair")
    change = ("await asyncio.gather(look(n), look(n + 1))", "await look(n), 1")
    run = checks.one(change)
    assert run["verdict"] == "changed"
    assert "1 effect recorded is left unasked for (step 'look')" in run["says"]
    found = checks.found(change, code=20, more=("--strict",))
    assert (found["changed"], found["diverges"]) == (1, 0)


def test_a_run_that_would_end_early_is_a_change(checks: Checks) -> None:
    checks.park("clerk")
    run = checks.one(("    booked =", "    return found\n    booked ="))
    assert run["says"] == "returns without asking for 1 effect recorded (tool 'book')"


def test_a_failure_that_was_there_before_is_none_of_the_codes(checks: Checks) -> None:
    checks.park("unlucky")
    run = checks.one()
    assert run["verdict"] == "fits"
    assert run["says"].endswith("as its last attempt did")
    assert checks.one(("ConnectionError(", "KeyError("), code=22)["verdict"] == "raises"


def test_contact_with_the_outside_is_blocked_and_told_with_its_line(checks: Checks) -> None:
    checks.park("blocking")
    reach = "import socket; socket.create_connection(('127.0.0.1', 9))"
    run = checks.one(("    sync.wait_for", f"    {reach}\n    sync.wait_for"), code=21)
    assert run["verdict"] == "unclear"
    assert "socket.getaddrinfo('127.0.0.1', 9) at after1.py:" in run["contacts"][0]
    quiet = f"    try:\n        {reach}\n    except Exception:\n        pass\n    sync.wait_for"
    run = checks.one(("    sync.wait_for", quiet))
    assert run["verdict"] == "fits"
    assert len(run["contacts"]) == 1


def test_online_lets_code_between_effects_out_and_performs_nothing(checks: Checks) -> None:
    checks.park("clerk")
    reach = "import subprocess\n    subprocess.run(['touch', 'reached'], check=True)"
    before = checks.dump()
    run = checks.found(("    found =", f"    {reach}\n    found ="), more=("--online",))["runs"][0]
    assert (run["verdict"], run["answered"]) == ("fits", 2)
    assert any("subprocess.Popen" in contact for contact in run["contacts"])
    assert (checks.folder / "reached").exists()
    assert not (checks.folder / "calls").exists()
    assert checks.dump() == before
    raising = ("    found =", f"    {reach}\n    raise OSError('no')\n    found =")
    assert checks.found(raising, more=("--online",), code=22)["raises"] == 1


def test_a_file_that_is_written_makes_no_error_unclear(checks: Checks) -> None:
    checks.park("clerk")
    writing = "    open('note.txt', 'w').close()\n    raise OSError('no')\n    found ="
    assert checks.one(("    found =", writing), code=22)["verdict"] == "raises"


def test_contact_is_told_of_the_run_that_it_belongs_to(checks: Checks) -> None:
    ids = checks.park("clerk", 1, 2, 3)
    reach = "import subprocess\n    if n == 2: subprocess.Popen(['true'])"
    found = checks.found(("    found =", f"    {reach}\n    found ="), code=21)
    contacts = {run["run"]: bool(run["contacts"]) for run in found["runs"]}
    assert contacts == {ids[0]: False, ids[1]: True, ids[2]: False}


def test_files_that_are_written_are_told_of(checks: Checks) -> None:
    checks.park("clerk")
    run = checks.one(("    found =", "    open('note.txt', 'w').close()\n    found ="))
    assert run["verdict"] == "fits"
    assert "writes a file (note.txt) at after1.py:" in run["contacts"][0]


def test_code_that_does_not_come_to_an_end_is_unclear(checks: Checks) -> None:
    checks.park("clerk", 1, 2)
    slow = "    if n == 1: await asyncio.sleep(600)\n    found ="
    found = checks.found(("    found =", slow), code=21, more=("--timeout", "1500ms"))
    assert (found["fits"], found["unclear"]) == (1, 1)
    (run,) = [run for run in found["runs"] if run["verdict"] == "unclear"]
    assert "within 1.5 s" in run["says"]


def test_filters_and_what_is_not_here(checks: Checks) -> None:
    checks.park("clerk", 1, 2, 3)
    checks.park("other")
    gone = ("@app.agent\nasync def other", "async def other")
    found = checks.found(gone)
    assert (found["checked"], found["elsewhere"]) == (3, {"other": 1})
    assert checks.found(more=("--limit", "2"))["checked"] == 2
    assert checks.found(more=("--agent", "other"))["checked"] == 1
    said = checks.call("check", checks.write(), "--agent", "nobody")
    assert said.code == 4
    assert "clerk" in said.err


def test_finished_runs_are_not_looked_at(checks: Checks) -> None:
    checks.call("run", "before.py:app", "--agent", "other", "--timeout", "50ms", "1")
    assert checks.found() == {
        "checked": 0, "fits": 0, "changed": 0, "diverges": 0, "raises": 0, "unclear": 0,
        "elsewhere": {}, "runs": [],
    }  # fmt: skip


def test_many_runs_are_rehearsed_beside_each_other(checks: Checks) -> None:
    checks.park("clerk", *range(40))
    found = checks.found(("book(found)", "book(found) if n % 2 else await book(9)"), code=20)
    assert (found["fits"], found["diverges"]) == (20, 20)


def test_people_get_reasons_once_with_the_runs_they_are_of(checks: Checks) -> None:
    ids = checks.park("clerk", *range(5))
    said = checks.call("check", checks.write(("book(found)", "book(7)")))
    assert said.code == 20
    assert "diverges  5 runs of clerk: asks for tool 'book' with other arguments" in said.out
    assert "and 2 more" in said.out
    assert "5 unfinished runs: 5 diverge." in said.out
    assert any(f"perdure replay {one} TARGET --pdb" in said.err for one in ids)


def test_a_graph_goes_on_from_a_copy_of_its_checkpoints(checks: Checks) -> None:
    pytest.importorskip("langgraph.checkpoint.sqlite")
    graph = """
import sqlite3
from typing import TypedDict
import perdure
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

class State(TypedDict):
    n: int

@perdure.step
def add(n: int) -> int:
    return n + 1

def first(state: State) -> State:
    return {"n": add(state["n"])}

def second(state: State) -> State:
    interrupt("go on?")
    return {"n": add(state["n"])}

builder = StateGraph(State)
builder.add_node("first", first)
builder.add_node("second", second)
builder.add_edge(START, "first")
builder.add_edge("first", "second")
builder.add_edge("second", END)
saver = SqliteSaver(sqlite3.connect("checkpoints.db", check_same_thread=False))
graph = builder.compile(checkpointer=saver)
"""
    (checks.folder / "graphs.py").write_text(graph)
    park("graphs.py:graph", "graph", [{"n": 1}])
    saved = (checks.folder / "checkpoints.db").read_bytes()
    said = checks.call("check", "graphs.py:graph", "--json")
    found = said.json
    assert found["fits"] == 1, found
    # It is at the interrupt: the first node is not executed again.
    (run,) = found["runs"]
    assert run["answered"] == 0
    assert run["says"].startswith("signal 'resume:")
    assert (checks.folder / "checkpoints.db").read_bytes() == saved
