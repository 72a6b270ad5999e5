"""The demo as its user starts it: a real process, real workers, a real kill -9."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_anthropic")

TINY = {
    "tides.md": "# Tides\n\nThe moon pulls the sea, and the sea follows twice a day. "
    "Where a bay is narrow the water has nowhere to go but up.",
    "winds.md": "# Winds\n\nWarm air rises over land and cool air comes in from the sea. "
    "At night it is the other way round, if the sky is clear.",
    "rocks.txt": "Rocks are worn by water that freezes in their cracks every winter. "
    "What breaks off is carried to the sea by rivers, as sand.",
}
CALLS = len(TINY) + 3  # plan, a note each, outline, report
KILL_AT = 3


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, text in TINY.items():
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.fixture
def command(docs: Path) -> list[str]:
    return [sys.executable, "-m", "perdure.demo", "--docs", str(docs), "--kill-at", str(KILL_AT)]


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    """As of a user without a key. A store of their own must not be touched by the demo."""
    store = tmp_path / "mine.db"
    # A short path: sockets do not fit into pytest's long ones and would be put elsewhere.
    with tempfile.TemporaryDirectory(prefix="perdure-") as place:
        yield {
            **{k: v for k, v in os.environ.items() if not k.startswith(("ANTHROPIC_", "PERDURE_"))},
            "TMPDIR": place,
            "MODEL": "simulated",
            "PERDURE_STORE": f"sqlite:///{store}",
            "https_proxy": "http://127.0.0.1:9",
        }
        assert os.listdir(place) == [], "the demo leaves nothing behind"
    assert not store.exists()


def test_figures(command: list[str], environ: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [*command, "--json"], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    assert figures["broken"] == []
    assert figures["provider"] == "simulated"
    assert figures["documents"] == len(TINY)
    assert figures["calls_needed"] == CALLS
    assert figures["same_report"] is True
    plain, perdure = figures["plain"], figures["perdure"]
    assert plain["calls_sent"] == KILL_AT + CALLS
    assert plain["calls_finished"] == KILL_AT - 1 + CALLS
    assert plain["paid_twice"] == KILL_AT - 1
    # The list and the two documents that it had read when it was killed.
    assert plain["tool_calls_repeated"] == 1 + KILL_AT - 1
    assert perdure["calls_sent"] == CALLS + 1
    assert perdure["calls_finished"] == CALLS
    assert perdure["resent_in_flight"] == 1
    assert perdure["paid_twice"] == 0
    assert perdure["unjournaled"] == 0
    assert perdure["tool_calls"] == 1 + len(TINY)
    assert perdure["tool_calls_repeated"] == 0
    assert 0 < perdure["seconds_to_next_step"] < plain["seconds_to_next_step"]
    assert 0 < perdure["cost"] < plain["cost"]
    assert "journaled and paid twice" in done.stderr


@pytest.mark.parametrize(
    ("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_ended_early_it_ends_its_processes(
    command: list[str], environ: dict[str, str], tmp_path: Path, how: signal.Signals, code: int
) -> None:
    demo = subprocess.Popen(
        [*command, "--plain"], env={**environ, "PYTHONUNBUFFERED": "1"}, cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # What a shell starts in the background ignores ctrl-c, and so do the tests' own children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    with demo:
        assert demo.stdout is not None
        pids: list[int] = []
        for line in demo.stdout:
            if found := re.search(r"\(pids? ([\d and]+)\)", line):
                pids += [int(pid) for pid in found[1].split(" and ")]
            if "perdure  call 1" in line:
                break
        assert len(pids) >= 3, "one agent and two workers"
        demo.send_signal(how)
        _, stderr = demo.communicate(timeout=60)
    assert demo.returncode == code, stderr
    assert "was ended" in stderr
    assert not [pid for pid in pids if _alive(pid)]


def test_a_job_too_short_to_be_killed(
    command: list[str], environ: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [*command[:-1], "9"], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "--kill-at 9: the agent makes 6 model calls" in done.stderr


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
