"""``perdure gateway`` as a process of its own, in front of a simulated provider."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import anthropic
import httpx2
import openai

from perdure.testing.simulator import ProviderSimulator

WAIT = 30.0
REAL = "sk-real-secret"  # what only the proxy knows


def settings(sim: ProviderSimulator, more: str = "", proxy: str = "") -> str:
    """A perdure.toml that leads both APIs to the simulator."""
    return f"""
[proxy]
upstreams = {{ openai = "{sim.url}/v1", anthropic = "{sim.url}" }}
{proxy}
[keys.openai]
env = "REAL_KEY"
[keys.anthropic]
env = "REAL_KEY"
{more}
"""


class Gateway:
    """A context manager. ``url`` is where it listens."""

    def __init__(self, folder: Path, text: str, *, store: str = "", port: int = 0) -> None:
        self._folder = folder
        self.store = store or f"sqlite:///{folder}/perdure.db"
        self._file = folder / f"proxy-{id(self):x}.toml"
        self._file.write_text(text)
        self._port = port
        self.url = ""
        self.said: list[str] = []

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "perdure.cli.main", "gateway", "--port", str(self._port),
                "--config", str(self._file), "--store", self.store,
            ],
            cwd=self._folder, env=environ({"REAL_KEY": REAL}), stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"Proxy at (\S+)", line):
                self.url = found[1]
                break
        if not self.url:
            self.process.stderr.close()
            self.process.wait(WAIT)
            raise AssertionError("".join(self.said))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *about: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WAIT)
        self._reader.join(WAIT)

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            self.said += lines

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        """Its exit code, once it is over."""
        return self.process.wait(WAIT)

    # -- who calls it -------------------------------------------------------------------------

    def openai(self, key: str = "any", **more: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, **{**_plain(), **more})

    def anthropic(self, key: str = "any", **more: Any) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(base_url=self.url, api_key=key, **{**_plain(), **more})


def _plain() -> dict[str, Any]:
    """No connection is left over for a test to close, and no retry hides an answer."""
    limits = httpx2.Limits(max_keepalive_connections=0)
    return {"max_retries": 0, "http_client": httpx2.AsyncClient(limits=limits, timeout=WAIT)}


def key(store: str, *options: str) -> str:
    """A new key of the proxy, as ``perdure keys create`` makes it."""
    done = subprocess.run(
        [
            sys.executable, "-m", "perdure.cli.main", "keys", "create", "someone",
            "--for", "gateway", "--store", store, *options,
        ],
        env=environ({}), check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return done.stdout.strip()


def environ(more: Mapping[str, str]) -> dict[str, str]:
    """Nobody's settings but the test's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        kept.pop(name, None)
    return {**kept, **more}
