"""``perdure dev`` and ``serve``: the banner's own curl line, lines for requests and runs, ports."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from signal import SIGTERM

import httpx2
import pytest

from tests.integration.cli.program import Place, Program


def url(program: Program) -> str:
    return str(program.until(r"(http://127\.0\.0\.1:\d+)")[1])


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_banners_curl_line_works_as_it_is(place: Place) -> None:
    with place.start("dev", "agents.py:child", "--port", "0") as dev:
        dev.until("Ctrl-C")
        lines = [line.strip() for line in dev.err if "curl" in line or line.startswith(" " * 11)]
        start = next(i for i, line in enumerate(lines) if "curl" in line)
        pasted = "\n".join(lines[start : start + 3]).removeprefix("Try").strip()
        answer = subprocess.run(["sh", "-c", pasted], capture_output=True, check=True, timeout=30)
        assert json.loads(answer.stdout)["result"] == "child of hello"
        dev.until(r"run  \S+ child running")
        dev.until(r"run  \S+ child succeeded")
        dev.until(r"http 200 POST /api/agents/\{agent\}/runs")
        dev.tell(SIGTERM)
        assert dev.ended() == 0


def test_dev_drains_on_sigterm_and_goes_on_at_the_next_start(place: Place) -> None:
    place.open("1")
    with place.start("dev", "agents.py:app", "--port", "0") as dev:
        where = url(dev)
        dev.until("Ctrl-C")
        answer = httpx2.post(f"{where}/api/agents/three/runs", json={"input": "hi"})
        run_id = answer.json()["id"]
        dev.until("in step 2")
        dev.tell(SIGTERM)
        dev.until("Draining")
        place.open("2", "3")
        assert dev.ended() == 0
    with place.start("dev", "agents.py:app", "--port", "0") as dev:
        where = url(dev)
        dev.until(f"{run_id} three goes on")
        dev.until(f"{run_id} three succeeded")
        assert httpx2.get(f"{where}/api/runs/{run_id}").json()["result"]["steps"] == [10, 20, 30]
    assert place.calls == ["step 1", "step 2", "step 3"]


def test_a_second_sigterm_ends_the_server_at_once(place: Place) -> None:
    with place.start("serve", "agents.py:app", "--port", "0") as server:
        where = url(server)
        httpx2.post(f"{where}/api/agents/stuck/runs", json={"input": "hi"})
        server.until("in stubborn")
        server.tell(SIGTERM)
        server.until("Draining")
        server.tell(SIGTERM)
        assert server.ended() == 143


def test_serve_without_a_worker_leaves_runs_to_others(place: Place) -> None:
    place.open("1", "2", "3")
    with place.start("serve", "agents.py:app", "--port", "0", "--no-worker") as server:
        where = url(server)
        answer = httpx2.post(f"{where}/api/agents/three/runs", json={"input": "hi"})
        assert answer.status_code == 202
        assert place.only_run()["state"] == "queued"
        with place.start("worker", "agents.py:app"):
            run = httpx2.get(f"{where}/api/runs/{answer.json()['id']}?wait=30", timeout=40).json()
        assert run["result"]["steps"] == [10, 20, 30]


def test_a_busy_port_says_so(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, _, err = place.run("serve", "agents.py:app", "--port", port)
    assert code == 7
    assert f"127.0.0.1:{port} is in use" in err
    assert "hint: " in err
    assert "Traceback" not in err


def test_other_hosts_are_refused_without_a_key(place: Place) -> None:
    code, _, err = place.run("serve", "agents.py:app", "--host", "0.0.0.0", "--port", "0")
    assert code == 2
    assert "perdure keys create" in err


def test_the_simulated_provider_answers_and_ends(place: Place) -> None:
    with place.start("simulate", "provider", "--port-file", "port") as simulator:
        where = url(simulator)
        assert where.endswith((place.folder / "port").read_text())
        answer = httpx2.post(
            f"{where}/v1/messages",
            json={
                "model": "claude-sonnet-4-5",
                "max_tokens": 9,
                "messages": [{"role": "user", "content": "echo me"}],
            },
        )
        assert "echo me" in answer.text
        simulator.tell(SIGTERM)
        assert simulator.ended() == 0
    code, _, err = place.run("simulate", "provider", "--brain", "nothing:here")
    assert code == 2
    assert "nothing:here" in err
