"""Model calls that belong to no run."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from perdure.errors import BoundaryError
from perdure.runtime.runtime import Runtime
from perdure.runtime.strays import METRIC, Strays
from perdure.store import make_store
from perdure.store.blobs import FileBlobs


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return Runtime(make_store(f"sqlite:///{tmp_path}/x.db"), FileBlobs(tmp_path), "worker")


async def test_they_are_counted_and_told_of_once(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    strays = Strays(runtime, strict=False)
    with caplog.at_level(logging.WARNING, logger="perdure"):
        for host in ("api.openai.com", "api.openai.com", "api.anthropic.com"):
            strays.stray(host)
    assert runtime.counters[METRIC, (("host", "api.openai.com"),)] == 2
    assert [r.args for r in caplog.records] == [("api.openai.com",), ("api.anthropic.com",)]


async def test_strict_mode_refuses_them(runtime: Runtime) -> None:
    with pytest.raises(BoundaryError, match=r"api\.openai\.com belongs to no run"):
        Strays(runtime, strict=True).stray("api.openai.com")
    assert runtime.counters[METRIC, (("host", "api.openai.com"),)] == 1
