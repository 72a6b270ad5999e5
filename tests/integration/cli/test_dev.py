"""``perdure dev`` while its files change: runs park and go on in the new code, the port stays open,
code that cannot be loaded stops nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM

import httpx2
import pytest

from tests.integration.cli.program import Place, Program

CLOCK = iter(range(1, 10_000))


def change(place: Place, old: str, new: str) -> None:
    """Save the agents' file, with a time of its own."""
    file = place.folder / "agents.py"
    text = file.read_text()
    assert old in text
    fresh = place.folder / "saved"
    fresh.write_text(text.replace(old, new))
    tick = next(CLOCK) * 10**9
    os.utime(fresh, ns=(tick, tick))
    fresh.rename(file)  # as editors save


def url(dev: Program) -> str:
    found = str(dev.until(r"(http://127\.0\.0\.1:\d+)")[1])
    dev.until("Ctrl-C")
    return found


def start(where: str, agent: str, text: str) -> str:
    answer = httpx2.post(f"{where}/api/agents/{agent}/runs", json={"input": text})
    return str(answer.json()["id"])


def result(where: str, run_id: str) -> object:
    """A server that drains lets nobody wait: then the next one is asked."""
    for _ in range(1000):
        run = httpx2.get(f"{where}/api/runs/{run_id}?wait=20", timeout=30).json()
        if run["state"] == "succeeded":
            return run["result"]
    raise AssertionError(run)


def test_runs_park_and_go_on_in_the_new_code(place: Place) -> None:
    place.open("1")
    with place.start("dev", "agents.py:app", "--port", "0") as dev:
        where = url(dev)
        run_id = start(where, "three", "hi")
        dev.until("in step 2")
        change(place, '"steps": [', '"new": True, "steps": [')
        dev.until(r"agents\.py changed \(\+1 −1\)")
        dev.until("waiting for effects under way")
        # What is in flight is finished by the old code, and recorded.
        place.open("2", "3")
        dev.until(f"{run_id} three queued")
        dev.until("serving the new code: three, ")
        dev.until(f"{run_id} three goes on")
        found = {"text": "hi", "new": True, "steps": [10, 20, 30]}
        assert result(where, run_id) == found
        dev.tell(SIGTERM)
        assert dev.ended() == 0
    assert place.calls == ["step 1", "step 2", "step 3"]


def test_a_client_that_comes_between_two_processes_is_answered(place: Place) -> None:
    with place.start("dev", "agents.py:app", "--port", "0") as dev:
        where = url(dev)
        change(place, "child of {text}", "new child of {text}")
        dev.until("changed")
        answers = []
        with httpx2.Client(timeout=30) as client:
            while "new child of x" not in answers:
                asked = client.post(
                    f"{where}/api/agents/child/runs",
                    json={"input": "x"},
                    headers={"prefer": "wait=20", "connection": "close"},
                )
                # A server that drains lets nobody wait: 202, and the run goes on elsewhere.
                assert asked.status_code in (200, 202), asked.text
                answers.append(result(where, asked.json()["id"]))
        assert set(answers) <= {"child of x", "new child of x"}
        dev.tell(SIGTERM)
        assert dev.ended() == 0


def test_code_that_cannot_be_loaded_is_shown_and_the_old_goes_on(place: Place) -> None:
    with place.start("dev", "agents.py:app", "--port", "0") as dev:
        where = url(dev)
        change(place, "async def child", "async def def child")
        dev.until(r"✗ agents\.py cannot be imported")
        dev.until(r'File ".*agents\.py", line \d+')
        dev.until("SyntaxError")
        dev.until("The code from before goes on serving")
        assert result(where, start(where, "child", "x")) == "child of x"
        change(place, "async def def child", "import not_there_yet\nasync def child")
        dev.until("No module named 'not_there_yet'")
        # The module that is missing appears, beside the file that asks for it.
        (place.folder / "not_there_yet.py").write_text("there = True\n")
        dev.until(r"not_there_yet\.py new")
        dev.until("serving the new code")
        # From now on it is watched like the others.
        (place.folder / "not_there_yet.py").write_text("there = True\nmore = True\n")
        dev.until(r"not_there_yet\.py changed \(\+1 −0\)")
        dev.until("serving the new code")
        assert result(where, start(where, "child", "x")) == "child of x"
        dev.tell(SIGINT)
        assert dev.ended() == 0


def child_of(dev: Program) -> int:
    (line,) = Path(f"/proc/{dev.process.pid}/task/{dev.process.pid}/children").read_text().split()
    return int(line)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_killed_server_is_started_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with place.start("dev", "agents.py:app", "--port", "0") as dev:
        where = url(dev)
        run_id = start(where, "three", "hi")
        dev.until("in step 1")
        os.kill(child_of(dev), SIGKILL)
        dev.until("ended by itself .SIGKILL")
        # One that dies right after its start is left alone until something changes.
        change(place, "child of {text}", "kid of {text}")
        place.open("1")
        place.open("2", "3")
        steps = result(where, run_id)
        assert steps == {"text": "hi", "steps": [10, 20, 30]}
        dev.tell(SIGTERM)
        assert dev.ended() == 0
    # Killed in the first step, which promised nothing: that one again, the others once.
    assert place.calls == ["step 1", "step 1", "step 2", "step 3"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_server_whose_supervisor_is_killed_drains_and_ends(place: Place) -> None:
    with place.start("dev", "agents.py:app", "--port", "0") as dev:
        url(dev)
        server = os.pidfd_open(child_of(dev))
        try:
            dev.process.kill()
            # It can be waited for by its handle alone: it is not our child.
            import select

            readable, _, _ = select.select([server], [], [], 30)
            assert readable
        finally:
            os.close(server)


def test_two_signals_end_it_at_once(place: Place) -> None:
    with place.start("dev", "agents.py:app", "--port", "0") as dev:
        where = url(dev)
        start(where, "stuck", "hi")
        dev.until("in stubborn")
        dev.tell(SIGINT)
        dev.until("Draining")
        dev.tell(SIGINT)
        assert dev.ended() == 128 + signal.SIGINT


def test_the_first_start_fails_as_it_ever_did(place: Place) -> None:
    with place.start("dev", "agents.py:app", "--port", "0") as dev:
        port = url(dev).rpartition(":")[2]
        code, _, err = place.run("dev", "agents.py:app", "--port", port)
        assert code == 7
        assert f"127.0.0.1:{port} is in use" in err
        assert "--port 0" in err
    code, _, err = place.run("dev", "agents.py:nothing")
    assert code == 2
    assert "has no 'nothing'" in err
    assert "Agents there: " in err
    code, _, err = place.run("dev", "agents.py:app", "--store", "sqlite:///agents.py/x.db")
    assert code == 7
    assert "Traceback" not in err


def test_without_reload_it_is_one_process(place: Place) -> None:
    with place.start("dev", "agents.py:app", "--port", "0", "--no-reload") as dev:
        where = url(dev)
        assert result(where, start(where, "child", "x")) == "child of x"
        if Path("/proc/self").exists():
            pid = dev.process.pid
            assert not Path(f"/proc/{pid}/task/{pid}/children").read_text()
        dev.tell(SIGTERM)
        assert dev.ended() == 0
