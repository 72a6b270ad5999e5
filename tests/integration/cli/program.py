"""``perdure`` as a process of its own: started, read line by line, signalled, and never left."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

WAIT = 30.0  # seconds until a test gives up on a line or an exit

# A step says that it began by a line, and ends when its gate's file is there: so a test
# decides what is in flight when a signal comes. Every call is one line of ``calls``.
AGENT = """
import asyncio, os, threading, time
from pathlib import Path
import perdure

HERE = Path(__file__).parent

def called(what):
    with (HERE / "calls").open("a") as file:
        file.write(what + "\\n")
    print(f"in {what}", flush=True)

@perdure.step
async def gated(n: int) -> int:
    called(f"step {n}")
    while not (HERE / f"gate{n}").exists():
        await asyncio.sleep(0.005)
    return n * 10

@perdure.step
def stubborn() -> int:
    called("stubborn")
    while not (HERE / "gate").exists():
        time.sleep(0.005)
    return 1

async def three(text: str) -> dict:
    return {"text": text, "steps": [await gated(n) for n in (1, 2, 3)]}

def stuck(text: str) -> int:
    return stubborn()

async def approved(text: str) -> str:
    return f"{text}: {await perdure.wait_for('approval')}"

async def parent(text: str) -> str:
    return (await kid.run(text)).upper()

async def child(text: str) -> str:
    return f"child of {text}"

app = perdure.App()
for function in (three, stuck, approved, parent):
    app.add(function)
kid = app.add(child)
"""


class Program:
    """One process. Use it as a context: it is killed at the end if it still runs."""

    def __init__(self, folder: Path, *args: str, env: Mapping[str, str] | None = None) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PERDURE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "perdure", *args],
            cwd=folder,
            env={**clean, "PYTHONUNBUFFERED": "1", **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.out)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.err)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, kept: list[str]) -> None:
        for line in stream:
            kept.append(line.rstrip("\n"))
            self._lines.put(line.rstrip("\n"))
        stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WAIT)
        for reader in self._readers:
            reader.join(WAIT)

    def until(self, pattern: str) -> re.Match[str]:
        """The next line, of either stream, that ``pattern`` is found in."""
        while True:
            try:
                found = re.search(pattern, self._lines.get(timeout=WAIT))
            except queue.Empty:
                raise AssertionError(f"no line with {pattern!r} came:\n{self.text()}") from None
            if found:
                return found

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Its exit code, once it has one and everything it said is read."""
        code = self.process.wait(WAIT)
        for reader in self._readers:
            reader.join(WAIT)
        return code

    def text(self) -> str:
        return "\n".join([*self.out, *self.err])


class Place:
    """A folder with the agents in it, and what a test does there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "agents.py").write_text(AGENT)

    def start(self, *args: str, env: Mapping[str, str] | None = None) -> Program:
        return Program(self.folder, *args, env=env)

    def run(self, *args: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)."""
        with self.start(*args, env=env) as program:
            code = program.ended()
        return code, "\n".join(program.out), "\n".join(program.err)

    def json(self, *args: str) -> Any:
        code, out, err = self.run(*args)
        assert code == 0, err
        return json.loads(out)

    def open(self, *gates: str) -> None:
        for gate in gates:
            (self.folder / f"gate{gate}").touch()

    @property
    def calls(self) -> list[str]:
        """Every step that was really performed, in order."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def only_run(self) -> dict[str, Any]:
        (run,) = self.json("runs", "list", "--json")["runs"]
        found: dict[str, Any] = run
        return found
