"""The simulator as a process of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anthropic
import httpx2
import pytest
from click.testing import CliRunner

from perdure.cli.simulate import provider
from perdure.errors import InvalidInput, PortInUse, TargetError
from perdure.testing.simulator import ProviderSimulator, echo
from perdure.testing.simulator.process import load
from perdure.testing.simulator.server import listen

BRAIN = """
from dataclasses import dataclass
from perdure.testing.simulator import Reply

@dataclass
class Loud:
    mark: str
    async def __call__(self, call):
        return Reply(call.prompt.upper() + self.mark)

loud = Loud("!")
number = 7
"""


@pytest.fixture
def brain(tmp_path: Path) -> Path:
    path = tmp_path / "loud.py"
    path.write_text(BRAIN)
    return path


@pytest.fixture
def process(tmp_path: Path, brain: Path) -> Iterator[subprocess.Popen[str]]:
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps([{"kind": "529", "match": {"nth": 1}}]))
    command = [
        sys.executable, "-m", "perdure.testing.simulator", "--port", "0",
        "--brain", f"{brain}:loud", "--faults", str(faults), "--port-file", str(tmp_path / "port"),
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        yield running
        running.kill()


def test_a_process_serves_until_it_is_told_to_stop(
    process: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url == f"http://127.0.0.1:{(tmp_path / 'port').read_text()}"
    assert process.stderr is not None
    said = [process.stderr.readline() for _ in range(3)]
    assert f'"{url.removeprefix("http://")}" = "openai"' in said[2]
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client:
        with pytest.raises(anthropic.OverloadedError):
            client.messages.create(model="m", max_tokens=9, messages=[])
        message = client.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "hey"}]
        )
    (block,) = message.content
    assert block.type == "text"
    assert block.text == "HEY!"
    assert httpx2.get(f"{url}/_sim/counts").json()["answered"] == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0


def test_a_process_with_limits_and_targets_prints_its_books_at_the_end(tmp_path: Path) -> None:
    limits = tmp_path / "limits.json"
    limits.write_text('{"limits": [{"what": "requests", "amount": 9}], "target": "east"}')
    command = [
        sys.executable, "-m", "perdure", "simulate", "provider", "--brain", "load",
        "--sizes", "fixed:50", "--limits", "rpm=1 kind=window target=west by=key",
        "--limits", str(limits), "--target", "east", "--target", "west", "--cache", "0.5", "--json",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        url = running.stdout.readline().strip()
        urls = dict(running.stdout.readline().split() for _ in range(2))
        listed = httpx2.get(f"{url}/_sim/targets").json()
        assert {t["target"]: t["url"] for t in listed} == {"": url, **urls}
        body = {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "hey"}]}
        statuses = [
            httpx2.post(f"{at}/v1/messages", json=body, headers={"x-api-key": "k"}).status_code
            for at in (urls["east"], urls["west"], urls["west"])
        ]
        running.send_signal(signal.SIGTERM)
        out, errors = running.communicate()
    assert running.returncode == 0
    assert statuses == [200, 200, 429]
    assert all(at.removeprefix("http://") in errors for at in urls.values())
    books = json.loads(out)
    assert books["by_key"]["k"]["output"] == 100
    assert [(m["limit"], m["limited"]) for m in books["meters"]] == [("RPM", 0), ("RPM", 1)]


def test_without_json_the_books_are_told_in_words() -> None:
    command = [sys.executable, "-m", "perdure.testing.simulator", "--limits", "rpm=1 name=opus"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        url = running.stdout.readline().strip()
        body = {"model": "m", "messages": [{"role": "user", "content": "hey"}]}
        for _ in range(2):
            httpx2.post(f"{url}/v1/chat/completions", json=body)
        running.send_signal(signal.SIGTERM)
        out, errors = running.communicate()
    assert out == ""
    # With OpenAI the refused call counts too.
    assert "opus RPM 1: at most 2 (2.000)" in errors
    assert "1 call refused" in errors


@pytest.mark.parametrize(
    "wrong",
    [["--limits", "rpm"], ["--target", "a:b"], ["--target", "v1"], ["--cache", "2"],
     ["--brain", "load", "--sizes", "x"], ["--brain", "load", "--rate", "-1"]],
)  # fmt: skip
def test_options_that_cannot_be(wrong: list[str]) -> None:
    command = [sys.executable, "-m", "perdure.testing.simulator", *wrong]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == InvalidInput.exit_code
    assert done.stderr.startswith("error: ")
    assert done.stdout == ""


def test_wrong_arguments_are_told() -> None:
    command = [sys.executable, "-m", "perdure.testing.simulator", "--brain", "no.such:thing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == TargetError.exit_code
    assert "no.such:thing" in done.stderr
    assert "hint: " in done.stderr
    assert done.stdout == ""


def test_brains_are_loaded_by_name(brain: Path) -> None:
    assert load("echo") is echo
    assert load("perdure.testing.simulator:echo") is echo
    assert callable(load("research"))
    for wrong in (f"{brain}:missing", f"{brain}:number", "missing.py:x", "echoo"):
        with pytest.raises(TargetError):
            load(wrong)


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_what_is_no_port(port: str) -> None:
    done = CliRunner().invoke(provider, ["--port", port])
    assert done.exit_code == 2
    assert "'--port'" in done.output


def test_a_port_that_is_taken() -> None:
    with ProviderSimulator() as first, pytest.raises(PortInUse):
        ProviderSimulator(port=first.port).start()


def test_a_simulator_starts_once_at_a_time_and_again() -> None:
    sim = ProviderSimulator()
    with pytest.raises(RuntimeError):
        _ = sim.url
    for _ in range(2):
        with sim:
            with pytest.raises(RuntimeError):
                sim.start()
            assert httpx2.get(f"{sim.url}/v1/models").status_code == 200
    sim.stop()
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{sim.url}/v1/models")


def test_connections_do_not_wait_for_delayed_acknowledgements() -> None:
    # asyncio switches Nagle's algorithm off only on sockets that name their protocol.
    with listen("127.0.0.1", 0) as sock:
        assert sock.proto == socket.IPPROTO_TCP
