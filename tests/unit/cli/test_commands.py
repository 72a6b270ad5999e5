"""Commands over a store of their own, in this process: JSON shapes, exit codes, errors."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import threading
from pathlib import Path

import pytest

from perdure.cli.main import main
from tests.unit.cli.conftest import Call, Said

AGENTS = """
import perdure

app = perdure.App()

@perdure.step
async def half(n: int) -> int:
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n // 2

@app.agent(fatal=(ValueError,))
async def halve(n: int) -> int:
    return await half(n)

@app.agent(retry=perdure.RetryPolicy(attempts=1))
async def dying(x: str = ""):
    raise RuntimeError("no more")

@app.agent
async def slow(x: str = "") -> str:
    import asyncio
    await asyncio.sleep(60)
    return "late"

@app.agent
async def looping(x: str = ""):
    for _ in range(100):
        await half(2)

@app.agent(durability="none")
async def fleeting(x: str) -> dict:
    return {"x": x}

@app.agent
async def raw(x: str) -> bytes:
    return b"\\x00\\xff"

@perdure.tool(effect="once")
async def pay(n: int) -> str:
    raise RuntimeError("the line broke")

@app.agent
async def payer(n: int) -> str:
    return await pay(n)
"""


@pytest.fixture
def run(call: Call, folder: Path) -> Call:
    (folder / "cases.py").write_text(AGENTS)

    def run(agent: str, *args: str) -> Said:
        return call("run", "cases.py:app", "--agent", agent, *args)

    return run


def test_run_as_json(run: Call) -> None:
    found = run("halve", "8", "--json").json
    assert (found["state"], found["input"], found["result"]) == ("succeeded", 8, 4)
    assert {"id", "agent", "created_at", "finished_at", "attempts", "error", "waits"} <= set(found)


def test_exit_codes_come_from_how_the_run_ended(run: Call) -> None:
    failed = run("halve", "7")
    assert failed.code == 10
    assert re.search(r"error: The run \S+ has failed: ValueError: 7 is odd", failed.err)
    dead = run("dying")
    assert dead.code == 11
    assert "perdure runs redrive" in dead.err
    late = run("slow", "--timeout", "100ms")
    assert late.code == 13
    assert "deadline" in late.err


def test_the_loop_guard_has_a_code_of_its_own(run: Call, folder: Path) -> None:
    (folder / "perdure.toml").write_text("[agents.looping]\nmax_effects = 3\n")
    assert run("looping").code == 14


def test_json_is_printed_of_a_failed_run_too(run: Call) -> None:
    failed = run("halve", "7", "--json")
    assert failed.code == 10
    assert json.loads(failed.out)["error"]["message"] == "7 is odd"


def test_an_agent_without_journal_leaves_no_trace(run: Call, folder: Path) -> None:
    found = run("fleeting", "hi", "--json").json
    assert (found["state"], found["result"]) == ("succeeded", {"x": "hi"})
    assert not (folder / ".perdure").exists()


def test_an_agent_without_journal_is_counted_where_there_is_something_to_count_by(
    run: Call, folder: Path
) -> None:
    (folder / "perdure.toml").write_text('[[budgets]]\nname = "all"\nusd = 1\n')
    found = run("fleeting", "hi", "--json").json
    assert (found["state"], found["result"]) == ("succeeded", {"x": "hi"})
    assert (folder / ".perdure").exists()


def test_bytes_are_written_as_they_are(
    folder: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    (folder / "cases.py").write_text(AGENTS)
    assert main(["run", "cases.py:app", "--agent", "raw", "x"]) == 0
    assert capfdbinary.readouterr().out == b"\x00\xff"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--input", '{"n": 5'), "line 1, column 8"),
        (("--input", "[1,\n 2,, 3]"), "line 2"),
        (("--input", "5", "six"), "given twice"),
        (("--input-file", "none.json"), "none.json cannot be read"),
    ],
)
def test_bad_input_says_where(run: Call, args: tuple[str, ...], told: str) -> None:
    said = run("halve", *args)
    assert said.code == 2
    assert told in said.err


def test_input_from_a_file(run: Call, folder: Path) -> None:
    (folder / "n.json").write_text("12")
    assert run("halve", "--input-file", "n.json").out == "6\n"
    (folder / "bad.json").write_text("{")
    assert "bad.json is not JSON" in run("halve", "--input-file", "bad.json").err


def test_text_that_the_agent_cannot_take_is_told_with_its_type(run: Call) -> None:
    said = run("halve", "seven")
    assert said.code == 2
    assert "halve" in said.err


def test_several_agents_need_a_name(call: Call, run: Call) -> None:
    assert "--agent halve" in call("run", "cases.py", "x").err
    assert "holds no agent 'nope'" in run("nope", "x").err


def test_runs_list_filters(run: Call, call: Call) -> None:
    run("halve", "8")
    run("halve", "7")
    listed = call("runs", "list", "--json").json["runs"]
    assert [r["state"] for r in listed] == ["failed", "succeeded"]
    only = call("runs", "list", "--json", "--state", "failed", "--agent", "halve").json["runs"]
    assert [r["id"] for r in only] == [listed[0]["id"]]
    assert call("runs", "list", "--json", "--agent", "other").json == {"runs": []}
    assert call("runs", "list", "--json", "--since", "1h").json["runs"] == listed
    page = call("runs", "list", "--limit", "1")
    assert f"--before {listed[0]['id']}" in page.err
    rest = call("runs", "list", "--json", "--before", listed[0]["id"]).json["runs"]
    assert rest == listed[1:]
    assert "NAME=VALUE" in call("runs", "list", "--label", "x").err


def test_runs_show_lists_effects_with_times(run: Call, call: Call) -> None:
    found = run("halve", "8", "--json").json
    shown = call("runs", "show", found["id"], "--json").json
    (effect,) = shown["effects"]
    assert (effect["kind"], effect["name"], effect["state"]) == ("step", "half", "done")
    assert effect["took_ms"] >= 0
    assert effect["started_s"] >= 0
    text = call("runs", "show", found["id"]).out
    assert re.search(r"✓ step half +█+ +\d+ ms", text)
    assert call("runs", "show", "none").code == 4


def test_an_uncertain_effect_is_shown_with_what_to_do_and_resolved(
    run: Call, call: Call, folder: Path
) -> None:
    _park(call, "payer", folder)
    (parked,) = call("runs", "list", "--json", "--state", "waiting").json["runs"]
    assert parked["waits"][0]["reason"] == "uncertain"
    shown = call("runs", "show", parked["id"]).out
    assert f"perdure runs resolve {parked['id']} --again" in shown
    assert call("runs", "resolve", parked["id"]).code == 2
    assert call("runs", "resolve", parked["id"], "xyz", "--again").code == 2
    answer = call("runs", "resolve", parked["id"], "--result", '"paid"', "--json").json
    assert answer["runs"][0]["state"] == "queued"
    resumed = call("run", "cases.py:app", "--resume", parked["id"])
    assert (resumed.code, resumed.out) == (0, "paid\n")
    assert call("runs", "resolve", parked["id"], "--again").code == 5


def _park(call: Call, agent: str, folder: Path) -> None:
    """Run the agent until it waits."""

    def tell() -> None:
        path = folder / ".perdure" / "perdure.db"
        while not done.wait(0.02):
            if path.exists():
                with sqlite3.connect(path) as link:
                    tables = link.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'")
                    if (
                        tables.fetchone()
                        and link.execute("SELECT 1 FROM runs WHERE state = 'waiting'").fetchone()
                    ):
                        os.kill(os.getpid(), signal.SIGINT)
                        return
                link.close()

    done = threading.Event()
    teller = threading.Thread(target=tell)
    teller.start()
    try:
        assert call("run", "cases.py:app", "--agent", agent, "1").code == 130
    finally:
        done.set()
        teller.join()


def test_runs_events_are_json_lines(run: Call, call: Call) -> None:
    run_id = run("halve", "8", "--json").json["id"]
    said = call("runs", "events", run_id)
    events = [json.loads(line) for line in said.out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert all(set(event) == {"seq", "at", "type", "data"} for event in events)
    assert events[-1]["data"]["state"] == "succeeded"
    later = call("runs", "events", run_id, "--after", "1", "--follow").out.splitlines()
    assert later == said.out.splitlines()[1:]
    assert call("runs", "events", "none").code == 4


def test_a_final_run_takes_no_cancel_and_no_signal(run: Call, call: Call) -> None:
    run_id = run("halve", "8", "--json").json["id"]
    assert call("runs", "cancel", run_id).code == 5
    assert call("signal", run_id, "go").code == 5
    assert call("signal", "none", "go").code == 4
    assert "PAYLOAD is not JSON" in call("signal", run_id, "go", "{").err


def test_a_failed_run_is_redriven(run: Call, call: Call) -> None:
    run("halve", "7")
    run_id = call("runs", "list", "--json").json["runs"][0]["id"]
    assert call("runs", "redrive", run_id, "--json").json["runs"][0]["state"] == "queued"
    again = call("run", "cases.py:app", "--resume", run_id)
    assert again.code == 10
    assert call("runs", "cancel", run_id).code == 5


def test_resume_of_a_run_that_is_over_shows_its_result(run: Call, call: Call) -> None:
    run_id = run("halve", "8", "--json").json["id"]
    assert call("run", "cases.py:app", "--resume", run_id).out == "4\n"
    assert call("run", "cases.py:halve", "--resume", "none").code == 4
    assert call("run", "cases.py:halve", "8", "--resume", run_id).code == 2
    assert call("run", "cases.py:payer", "--resume", run_id).code == 5


def test_keys(call: Call) -> None:
    made = call("keys", "create", "ci", "--scope", "runs:read", "--expires", "90d", "--json").json
    assert made["key"].startswith(f"pk_{made['id']}_")
    assert made["scopes"] == ["runs:read"]
    assert made["expires_at"] > made["created_at"]
    plain = call("keys", "create", "by hand")
    assert re.fullmatch(r"pk_[0-9a-f]+_\S+\n", plain.out)
    listed = call("keys", "list", "--json").json["keys"]
    assert [(k["name"], k["revoked_at"]) for k in listed] == [("ci", None), ("by hand", None)]
    assert made["key"].split("_", 2)[2] not in json.dumps(listed)
    assert call("keys", "revoke", made["id"]).code == 0
    assert call("keys", "list", "--json").json["keys"][0]["revoked_at"] is not None
    assert "revoked" in call("keys", "list").out
    assert call("keys", "revoke", "none").code == 4
    assert call("keys", "create", "x", "--scope", "all").code == 2


def test_db_upgrade_and_check(call: Call, folder: Path) -> None:
    missing = call("db", "check")
    assert missing.code == 7
    assert not list(folder.iterdir())
    applied = call("db", "upgrade", "--json").json
    assert applied["applied"]
    assert call("db", "upgrade", "--json").json == {"applied": [], "version": applied["version"]}
    checked = call("db", "check", "--json").json
    assert checked["current"] is True
    assert checked["version"] == checked["needed"] == applied["version"]


def test_a_newer_schema_is_left_alone(call: Call, folder: Path) -> None:
    call("db", "upgrade")
    link = sqlite3.connect(folder / ".perdure" / "perdure.db")
    with link:
        columns = [row[1] for row in link.execute("PRAGMA table_info(schema_migrations)")]
        values = {"version": 999, "name": "0999_future", "applied_at": 1}
        link.execute(
            f"INSERT INTO schema_migrations ({', '.join(columns)}) "
            f"VALUES ({', '.join('?' * len(columns))})",
            [values.get(column, 1) for column in columns],
        )
    link.close()
    (folder / "cases.py").write_text(AGENTS)
    for args in (
        ["db", "check"],
        ["db", "upgrade"],
        ["runs", "list"],
        ["run", "cases.py:halve", "2"],
    ):
        said = call(*args)
        assert said.code == 8, args
        assert "999" in said.err
        assert "hint: Upgrade the perdure package" in said.err
    shown = call("db", "check", "--json")
    assert json.loads(shown.out) == {
        "store": "sqlite:///.perdure/perdure.db",
        "version": 999,
        "needed": json.loads(shown.out)["needed"],
        "current": False,
        "findings": [],
    }


def test_config_show_names_sources(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "perdure.toml").write_text("[worker]\nconcurrency = 7\n[server]\nport = 1\n")
    monkeypatch.setenv("PERDURE_SERVER_PORT", "2")
    url = "postgresql://me:secret@db/perdure"
    rows = call("config", "show", "--store", url, "--json").json["settings"]
    found = {row["name"]: (row["value"], row["source"]) for row in rows}
    assert found["worker.concurrency"] == (7, "perdure.toml")
    assert found["server.port"] == (2, "PERDURE_SERVER_PORT")
    assert found["store.url"] == ("postgresql://me:***@db/perdure", "flag")
    assert found["server.host"] == ("127.0.0.1", "default")
    assert "secret" not in call("config", "show", "--store", url).out


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ('[gateway.providers]\n"llm.example.com" = "opnai"', "'opnai', which is no known provider"),
        ("[server]\nport = 70000", "is no port"),
        ('[log]\nlevel = "loud"', "'loud' is no level"),
        ('[agents.a]\nchanged = "never"', "changed is one of: reuse, redo, park"),
        ('[agents.a.tools]\npay = "onec"', "cannot promise 'onec'"),
    ],
)
def test_config_show_refuses_what_no_process_would_start_with(
    call: Call, folder: Path, toml: str, why: str
) -> None:
    (folder / "perdure.toml").write_text(toml)
    said = call("config", "show")
    assert said.code == 2
    assert why in said.err
    assert said.out == ""


def test_a_wrong_crash_point_lists_the_right_ones(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_TESTING_CRASH", "after_lunch")
    said = call("runs", "list")
    assert said.code == 2
    assert "after_commit" in said.err


def test_a_store_that_is_neither(call: Call) -> None:
    said = call("runs", "list", "--store", "mysql://x")
    assert said.code == 2
    assert "neither sqlite" in said.err


def test_wrong_durations_name_the_option(call: Call, run: Call) -> None:
    assert "--timeout" in run("halve", "8", "--timeout", "soon").err
    assert "--since" in call("runs", "list", "--since", "long").err
    assert call("worker", "cases.py:app", "--drain", "x").code == 2


def test_a_run_id_is_given_whole(call: Call) -> None:
    """What a shell or an eye cut off is told so, by whatever takes an id."""
    for command in ("show", "events", "cancel", "redrive"):
        said = call("runs", command, "01a1fed0")
        assert said.code == 4
        assert "There is no run 01a1fed0." in said.err
        assert "given whole" in said.err
    assert "given whole" in call("runs", "list", "--before", "x").err
