"""Exporting a run and replaying it: the same, changed, failed, unfinished; and nothing goes out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perdure.cli.offline.blockade import Contact, blockade
from perdure.cli.offline.document import dump, load
from perdure.errors import InvalidInput
from tests.unit.cli.conftest import Call, Said

AGENT = """
import asyncio
from pathlib import Path
import perdure

CALLS = Path(__file__).with_name("calls")

@perdure.step
async def add(a: int, b: int) -> int:
    with CALLS.open("a") as file:
        file.write("add\\n")
    if b == 13:
        raise ValueError("unlucky")
    return a + b

@perdure.step
def double(a: int) -> int:
    with CALLS.open("a") as file:
        file.write("double\\n")
    return 2 * a

async def agent(n: int) -> dict:
    perdure.now()
    first, second = await asyncio.gather(add(n, 1), add(n, 2))
    return {"sum": await add(first, second), "big": "x" * 300_000 if n == 9 else ""}

def blocking(n: int) -> int:
    return double(double(n))

@perdure.step
async def outer(n: int) -> int:
    return await add(n, 1) + await add(n, 1)

async def nested(n: int) -> int:
    return await outer(n)

async def unlucky(n: int) -> int:
    try:
        await add(n, 13)
    except ValueError:
        pass
    return await add(n, n)

async def streamed(n: int):
    for i in range(n):
        yield f"{await add(i, i)} "
"""


@pytest.fixture
def exported(call: Call, folder: Path) -> Call:
    """Runs an agent and exports its run; what it calls from then on is counted anew."""
    (folder / "agents.py").write_text(AGENT)

    def export(agent: str, value: str) -> Said:
        call("run", f"agents.py:{agent}", "--input", value)
        run_id = call("runs", "list", "--json").json["runs"][0]["id"]
        said = call("runs", "export", run_id, "run.json")
        assert said.code == 0, said.err
        (folder / "calls").unlink(missing_ok=True)
        return said

    return export


@pytest.mark.parametrize(
    ("agent", "value", "answered"),
    [("agent", "3", 3), ("blocking", "3", 2), ("nested", "3", 1), ("streamed", "3", 3)],
)
def test_a_run_is_replayed_without_a_single_call(
    call: Call, exported: Call, folder: Path, agent: str, value: str, answered: int
) -> None:
    exported(agent, value)
    report = call("replay", "run.json", f"agents.py:{agent}", "--json").json
    assert report["same"] is True
    assert report["outcome"] == "returned"
    assert report["answered"] == answered
    assert not (folder / "calls").exists()


def test_the_result_goes_to_stdout(call: Call, exported: Call) -> None:
    exported("blocking", "3")
    said = call("replay", "run.json", "agents.py:blocking")
    assert said.out == "12\n"
    assert said.err.count("double  took") == 2


def test_a_run_of_the_store_needs_no_file(call: Call, exported: Call, folder: Path) -> None:
    exported("blocking", "3")
    run_id = json.loads((folder / "run.json").read_text())["run"]["id"]
    assert call("replay", run_id, "agents.py:blocking").out == "12\n"
    assert call("replay", "none", "agents.py:blocking").code == 4


def test_nothing_of_the_runs_own_store_is_touched(call: Call, exported: Call, folder: Path) -> None:
    exported("agent", "3")
    (folder / ".perdure").rename(folder / "elsewhere")
    assert call("replay", "run.json", "agents.py:agent").code == 0
    assert not (folder / ".perdure").exists()


def test_a_failure_that_was_caught_is_raised_again(call: Call, exported: Call) -> None:
    exported("unlucky", "2")
    report = call("replay", "run.json", "agents.py:unlucky", "--json").json
    assert (report["same"], report["result"]) == (True, 4)


@pytest.mark.parametrize("fatal", ["ValueError", "KeyError"])
def test_a_run_that_failed_fails_alike(
    call: Call, folder: Path, exported: Call, fatal: str
) -> None:
    (folder / "failing.py").write_text(
        AGENT
        + "app = perdure.App()\n"
        + f"@app.agent(fatal=({fatal},), retry=perdure.RetryPolicy(attempts=1))\n"
        + "async def failing(n: int):\n    await add(n, 1)\n    await add(n, 13)\n"
    )
    said = call("run", "failing.py:app", "--agent", "failing", "1")
    assert said.code in (10, 11)
    run_id = call("runs", "list", "--json").json["runs"][0]["id"]
    call("runs", "export", run_id, "run.json")
    (folder / "calls").unlink()
    report = call("replay", "run.json", "failing.py:app", "--json").json
    assert (report["outcome"], report["same"], report["answered"]) == ("raised", True, 2)
    assert report["error"]["message"] == "unlucky"
    assert not (folder / "calls").exists()


def test_code_that_asks_for_something_else_differs(
    call: Call, exported: Call, folder: Path
) -> None:
    exported("blocking", "3")
    changed = AGENT.replace("double(double(n))", "double(double(n) + 1)")
    (folder / "agents.py").rename(folder / "before.py")
    (folder / "changed.py").write_text(changed)
    said = call("replay", "run.json", "changed.py:blocking")
    assert said.code == 1
    assert "asks for step 'double' with other arguments than recorded (changed.py:" in said.err
    report = json.loads(call("replay", "run.json", "changed.py:blocking", "--json").out)
    assert report["same"] is False
    assert report["outcome"] == "stopped"
    assert report["stopped_at"]["name"] == "double"
    assert not (folder / "calls").exists()


def test_code_that_asks_for_less_differs(call: Call, exported: Call, folder: Path) -> None:
    exported("blocking", "0")
    (folder / "changed.py").write_text(AGENT.replace("double(double(n))", "double(n)"))
    said = call("replay", "run.json", "changed.py:blocking")
    assert said.code == 1
    assert "does not ask for step double" in said.err


def test_code_that_returns_something_else_differs(call: Call, exported: Call, folder: Path) -> None:
    exported("blocking", "3")
    (folder / "changed.py").write_text(AGENT.replace("double(double(n))", "1 + double(double(n))"))
    said = call("replay", "run.json", "changed.py:blocking")
    assert (said.code, said.out) == (1, "13\n")
    assert "the result is another" in said.err


def test_contact_outside_effects_is_blocked_and_reported(
    call: Call, exported: Call, folder: Path
) -> None:
    exported("blocking", "3")
    reach = "import subprocess; subprocess.run(['true'])"
    (folder / "changed.py").write_text(
        AGENT.replace(
            "    return double(double(n))",
            "    try:\n        import socket\n"
            "        socket.create_connection(('127.0.0.1', 9))\n"
            "    except Exception:\n        pass\n"
            f"    try:\n        {reach}\n    except Exception:\n        pass\n"
            "    return double(double(n))",
        )
    )
    report = call("replay", "run.json", "changed.py:blocking", "--json").json
    assert report["same"] is True
    assert len(report["contacts"]) == 2
    assert "changed.py:" in report["contacts"][0]
    assert "subprocess.Popen" in report["contacts"][1]


def test_an_unfinished_run_is_replayed_to_the_end_of_its_journal(
    call: Call, exported: Call, folder: Path
) -> None:
    exported("blocking", "3")
    document = json.loads((folder / "run.json").read_text())
    entries = [row for row in document["log"] if row["type"] == "entry"]
    document["log"] = entries[:1]
    document["run"].update(state="queued", result=None, finished_at=None)
    (folder / "run.json").write_text(json.dumps(document))
    said = call("replay", "run.json", "agents.py:blocking")
    assert said.code == 0
    assert "The journal ends here: step 'double' at agents.py:" in said.err
    assert "comes next" in said.err
    assert not (folder / "calls").exists()


def test_an_agent_of_another_name_will_do_where_it_is_the_only_one(
    call: Call, exported: Call, folder: Path
) -> None:
    exported("blocking", "3")
    (folder / "renamed.py").write_text(AGENT.replace("blocking", "renamed"))
    assert call("replay", "run.json", "renamed.py:renamed").out == "12\n"


def test_an_export_reads_back_as_it_was(call: Call, exported: Call, folder: Path) -> None:
    exported("agent", "9")
    data = (folder / "run.json").read_bytes()
    once = load(data, "run.json")
    assert once.blobs  # the result is a large one
    again = load(dump(once, once.run.created_at), "again")
    assert again == once
    report = call("replay", "run.json", "agents.py:agent", "--json").json
    assert report["same"] is True
    assert len(report["result"]["big"]) == 300_000


def test_standard_output_is_the_default(call: Call, exported: Call, folder: Path) -> None:
    exported("blocking", "3")
    document = json.loads((folder / "run.json").read_text())
    assert document["format"] == "perdure.run"
    assert call("runs", "export", "none").code == 4
    assert call("runs", "export", document["run"]["id"], "no/such/folder.json").code == 2


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"{", "is not JSON"),
        (b"[]", "no exported run"),
        (b'{"format": "perdure.run", "version": 2}', "format version 2"),
        (b'{"format": "perdure.run", "version": 1}', "damaged"),
    ],
)
def test_what_is_no_export_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        load(data, "x.json")


def test_the_blockade_ends_with_its_block() -> None:
    import socket

    def look_up() -> None:
        socket.getaddrinfo("127.0.0.1", 9)

    with blockade() as contacts:
        with pytest.raises(Contact, match="outside any effect"):
            look_up()
        assert len(contacts) == 1
    look_up()
    assert len(contacts) == 1


def test_online_the_outside_is_reached_and_no_effect_performed(
    call: Call, exported: Call, folder: Path
) -> None:
    """As a framework does that asks an MCP server for its tools at each start."""
    exported("blocking", "3")
    reach = "    import subprocess; subprocess.run(['touch', 'reached'], check=True)\n"
    place = "def blocking(n: int) -> int:\n"
    (folder / "reaching.py").write_text(AGENT.replace(place, place + reach))
    said = call("replay", "run.json", "reaching.py:blocking")
    assert said.code == 1
    assert "--online" in said.err
    assert not (folder / "reached").exists()
    said = call("replay", "run.json", "reaching.py:blocking", "--online")
    assert said.code == 0
    assert "! outside effects: subprocess.Popen" in said.err
    assert "none performed" in said.err
    assert (folder / "reached").exists()
    assert not (folder / "calls").exists()
