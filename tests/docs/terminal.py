"""A user's terminal: files of a page are written to a folder, its commands are executed there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self

READY = re.compile(r"is ready|http://|^Run ")  # what our processes say once they are up
WITHIN = 60.0  # seconds for a command
SITE = Path(__file__).parent / "site"


class Started:
    """A process in the background."""

    def __init__(self, command: str, folder: Path, environ: Mapping[str, str]) -> None:
        self.command = command
        self.lines: list[str] = []
        self._told = threading.Condition()
        self._process = subprocess.Popen(
            ["bash", "-c", command], cwd=folder, env=environ, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,))
        self._reader.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._told:
                    self.lines.append(line)
                    self._told.notify_all()
        with self._told:
            self.lines.append("")  # the end
            self._told.notify_all()

    def until(self, pattern: re.Pattern[str]) -> None:
        def found() -> bool:
            return any(pattern.search(line) for line in self.lines) or self.lines[-1:] == [""]

        with self._told:
            arrived = self._told.wait_for(found, WITHIN)
        said = "".join(self.lines)
        assert arrived, f"{self.command!r} says nothing more:\n{said}"
        assert any(map(pattern.search, self.lines)), f"{self.command!r} ended:\n{said}"

    def finish(self) -> None:
        """Wait for its end."""
        self._process.wait(WITHIN)
        self._reader.join()

    def end(self) -> None:
        """End it by its pid."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self.finish()


class Terminal:
    """``provider``: where the official hosts of model providers lead to instead, for commands with
    a file that calls models."""

    def __init__(self, folder: Path, *, provider: str) -> None:
        self.folder = folder
        self.output = ""
        self.started: list[Started] = []
        self._variables = folder / ".variables"
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PERDURE_", "ANTHROPIC_"))},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "COLUMNS": "200",
        }
        self._redirected = {"DOCS_PROVIDER": provider, "PYTHONPATH": str(SITE)}
        self._callers: set[str] = set()  # names of files that call models

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.started:
            process.end()

    def write(self, name: str, text: str) -> None:
        if re.search("anthropic|openai", text) and name.endswith(".py"):
            self._callers.add(name)
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def _environ(self, commands: str) -> dict[str, str]:
        calls = any(name in commands for name in (*self._callers, "perdure gateway"))
        return {**self.environ, **(self._redirected if calls else {})}

    def run(self, commands: str) -> None:
        """Execute the commands; variables that they set stay for those that follow."""
        kept = self._variables
        script = (
            f"set -eu -o pipefail -o allexport; [ ! -f {kept} ] || . {kept}\n"
            f"trap 'unset DOCS_PROVIDER PYTHONPATH; export -p > {kept}' EXIT\n{commands}"
        )
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self._environ(commands),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=WITHIN,
        )  # fmt: skip
        self.output = done.stdout
        assert done.returncode == 0, f"exit code {done.returncode}:\n{commands}\n{done.stdout}"

    def background(self, commands: str) -> None:
        """Start each line's command, and wait until it is up."""
        for line in commands.splitlines():
            command = line.partition("#")[0].strip().removesuffix("&").strip()
            if command:
                known = f"[ ! -f {self._variables} ] || . {self._variables}"
                self.started.append(self._start(f"{known}; exec {command}"))
        for process in self.started:
            process.until(READY)

    def _start(self, command: str) -> Started:
        return Started(command, self.folder, self._environ(command))

    def shows(self, text: str) -> None:
        """Check that each line of ``text`` was printed, by the last commands or, if it is not
        there, by a process in the background that has ended meanwhile."""
        for line in text.splitlines():
            parts = (re.escape(part.strip()) for part in line.split("…"))
            wanted = re.compile(r"\s*.*?\s*".join(re.sub(r"(\\ )+", r"\\s+", p) for p in parts))
            if line.strip() and not wanted.search(self.output):
                said = "".join(x for process in self.started for x in process.lines)
                assert wanted.search(said), f"{line!r} is not in:\n{self.output}\n{said}"
