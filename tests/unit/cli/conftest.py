"""The command line inside the test's own process: its exit code and what it printed."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perdure import gateway
from perdure.cli.main import main
from perdure.testing import crash


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


Call = Callable[..., Said]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder; what a TARGET does to the process is undone afterwards."""
    for name in list(os.environ):
        if name.startswith("PERDURE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    path, modules, level = list(sys.path), set(sys.modules), logging.getLogger("perdure").level
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and file.startswith(str(tmp_path)):
            del sys.modules[name]
    logging.getLogger("perdure").setLevel(level)
    crash.disarm()
    while gateway.installed() is not None:  # a process that loads agents keeps capture to its end
        gateway.uninstall()


@pytest.fixture
def call(folder: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*args: str) -> Said:
        capsys.readouterr()
        code = main(args)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run
