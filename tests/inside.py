"""Commands that are carried out inside the test's own process, and what undoes their traces."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perdure import gateway
from perdure.testing import crash


@contextmanager
def workplace(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """``place`` as the current folder, without settings of the environment; what a TARGET does to
    the process is undone afterwards."""
    for name in list(os.environ):
        if name.startswith("PERDURE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(place)
    path, modules, level = list(sys.path), set(sys.modules), logging.getLogger("perdure").level
    yield place
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and file.startswith(str(place)):
            del sys.modules[name]
    logging.getLogger("perdure").setLevel(level)
    crash.disarm()
    while gateway.installed() is not None:  # a process that loads agents keeps capture to its end
        gateway.uninstall()
