"""``perdure run`` as a process: results, Ctrl-C, kill -9, and going on."""

from __future__ import annotations

import json
import re
from signal import SIGINT, SIGKILL, SIGTERM

import pytest

from tests.integration.cli.program import Place

EVERY_STEP_ONCE = ["step 1", "step 2", "step 3"]


def test_the_result_goes_to_stdout_and_progress_to_stderr(place: Place) -> None:
    place.open("1", "2", "3")
    code, out, err = place.run("run", "agents.py:three", "hi", "--follow")
    assert code == 0
    # What the agent prints is no result.
    assert json.loads(out) == {"text": "hi", "steps": [10, 20, 30]}
    assert "in step 1" in err
    assert len(re.findall(r"✓ step +gated", err)) == 3


def test_kill_9_and_resume_repeats_no_completed_step(place: Place) -> None:
    place.open("1")
    with place.start("run", "agents.py:three", "hi") as program:
        program.until("in step 2")
        program.tell(SIGKILL)
        assert program.ended() == -SIGKILL
    place.open("2", "3")
    run_id = place.only_run()["id"]
    code, out, err = place.run("run", "--resume", run_id, "agents.py:three")
    assert code == 0, err
    assert '"steps"' in out
    # The second step was in flight when the process died: it is the only one that ran again.
    assert place.calls == ["step 1", "step 2", "step 2", "step 3"]


def test_the_first_ctrl_c_parks_and_says_how_to_go_on(place: Place) -> None:
    place.open("1")
    with place.start("run", "agents.py:three", "hi", "--follow") as program:
        program.until("in step 2")
        program.tell(SIGINT)
        program.until("Parking")
        place.open("2")
        told = program.until(r"perdure (run --resume (\S+) agents\.py:three)")
        assert program.ended() == 130
    assert place.only_run()["state"] == "queued"
    place.open("3")
    code, _, err = place.run(*told[1].split())
    assert code == 0, err
    assert place.calls == EVERY_STEP_ONCE


def test_a_second_ctrl_c_stops_at_once(place: Place) -> None:
    with place.start("run", "agents.py:three", "hi", "--follow") as program:
        program.until("in step 1")
        program.tell(SIGINT)
        program.until("Parking")
        program.tell(SIGINT)
        assert program.ended() == 130
    place.open("1", "2", "3")
    code, _, err = place.run("run", "--resume", place.only_run()["id"], "agents.py:three")
    assert code == 0, err


def test_a_thread_that_does_not_end_cannot_keep_the_process(place: Place) -> None:
    with place.start("run", "agents.py:stuck", "hi", "--follow") as program:
        program.until("in stubborn")
        program.tell(SIGTERM)
        program.until("Parking")
        program.tell(SIGTERM)
        assert program.ended() == 143


@pytest.mark.parametrize("point", ["after_commit:2", "before_settle", "after_claim"])
def test_crash_points_are_armed_from_the_environment(place: Place, point: str) -> None:
    place.open("1", "2", "3")
    code, _, err = place.run("run", "agents.py:three", "hi", env={"PERDURE_TESTING_CRASH": point})
    assert code == -SIGKILL, err
    code, _, err = place.run("run", "--resume", place.only_run()["id"], "agents.py:three")
    assert code == 0, err
    assert place.calls == EVERY_STEP_ONCE


def test_it_waits_for_a_signal_that_another_process_sends(place: Place) -> None:
    with place.start("run", "agents.py:approved", "pay", "--follow") as program:
        told = program.until(r"perdure signal (\S+) approval")
        assert place.json("signal", told[1], "approval", '"yes"', "--json") == {
            "run": told[1], "name": "approval", "n": 1,
        }  # fmt: skip
        assert program.ended() == 0
    assert program.out == ["pay: yes"]


def test_it_executes_its_own_run_and_children_and_no_other(place: Place) -> None:
    with place.start("run", "agents.py:app", "other", "--agent", "three") as program:
        program.until("in step 1")
        program.tell(SIGKILL)
        program.ended()
    left = place.only_run()["id"]
    code, out, err = place.run("run", "agents.py:app", "me", "--agent", "parent")
    assert (code, out) == (0, "CHILD OF ME"), err
    assert place.calls == ["step 1"]
    states = {r["id"]: r["state"] for r in place.json("runs", "list", "--json")["runs"]}
    assert states[left] in ("queued", "running")
    assert sorted(state for run, state in states.items() if run != left) == ["succeeded"] * 2


def test_an_agents_name_leaves_the_run_to_workers(place: Place) -> None:
    place.open("1", "2", "3")
    with place.start("worker", "agents.py:app") as worker:
        worker.until("is ready")
        run = place.json("run", "three", "far", "--json")
        assert (run["state"], run["result"]["text"]) == ("succeeded", "far")
        code, _, err = place.run("run", "nobody", "x")
        assert code == 4
        assert "neither a TARGET" in err
    assert place.calls == EVERY_STEP_ONCE


def test_json_lines_of_events_end_with_the_run(place: Place) -> None:
    code, out, err = place.run("run", "agents.py:child", "x", "--json", "--follow")
    assert code == 0, err
    *events, run = [json.loads(line) for line in out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["data"] == {"state": "succeeded"}
    assert run["result"] == "child of x"
