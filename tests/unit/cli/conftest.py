"""The command line inside the test's own process: its exit code and what it printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perdure.cli.main import main
from tests.inside import workplace


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
    """The current folder."""
    with workplace(tmp_path, monkeypatch) as place:
        yield place


@pytest.fixture
def call(folder: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*args: str) -> Said:
        capsys.readouterr()
        code = main(args)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run
