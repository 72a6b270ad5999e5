"""What a process is made of: capture, stores, log levels, signals."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from pathlib import Path

import pytest

from perdure.cli import process
from perdure.config import load
from perdure.errors import ConfigError, SchemaOutdated, StoreUnavailable
from perdure.gateway import installed
from perdure.runtime.runtime import Runtime
from perdure.store import make_store
from perdure.store.blobs import FileBlobs


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return Runtime(make_store(f"sqlite:///{tmp_path}/x.db"), FileBlobs(tmp_path), "worker")


async def test_capture_is_proven_and_taken_out_again(folder: Path, runtime: Runtime) -> None:
    config = load(
        environ={}, flags={"gateway.attempts": 2, "gateway.budget": "5s", "gateway.strict": True}
    )
    async with process.capturing(config, runtime):
        capture = installed()
        assert capture is not None
        assert capture.retries.policy.attempts == 2
        assert capture.retries.total.total_seconds() == 5
        assert capture.strays is not None
        # The proof's own calls are no strays.
        assert not runtime.counters
    assert installed() is None


async def test_hosts_of_the_settings_are_captured(folder: Path, runtime: Runtime) -> None:
    (folder / "perdure.toml").write_text('[gateway.providers]\n"llm.example.com" = "openai"\n')
    async with process.capturing(load(environ={}), runtime):
        capture = installed()
        assert capture is not None
        assert capture.route(None, "POST", "llm.example.com", 443, "/v1/chat/completions") is None
        assert capture.providers.host("llm.example.com", 443) is not None


async def test_capture_can_be_switched_off(folder: Path, runtime: Runtime) -> None:
    async with process.capturing(load(environ={"PERDURE_GATEWAY_CAPTURE": "off"}), runtime):
        assert installed() is None


async def test_a_missing_file_is_made_only_where_runs_are_made(folder: Path) -> None:
    config = load(environ={})
    with pytest.raises(StoreUnavailable, match="There is no database"):
        async with process.open_store(config):
            pass
    assert not (folder / ".perdure").exists()
    async with process.open_store(config, create=True) as store:
        assert (await store.schema())[0] > 0


async def test_a_file_without_our_schema_is_outdated(folder: Path) -> None:
    (folder / "other.db").touch()
    config = load(environ={}, flags={"store.url": "sqlite:///other.db"})
    with pytest.raises(SchemaOutdated):
        async with process.open_store(config):
            pass


def test_log_levels(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"log\.level = 'loud'"):
        process.prepare(load(environ={"PERDURE_LOG_LEVEL": "loud"}))
    process.prepare(load(environ={"PERDURE_LOG_LEVEL": "warning"}), shown=True)
    assert logging.getLogger("perdure").level == logging.WARNING
    assert not logging.getLogger("perdure.attempt").isEnabledFor(logging.WARNING)
    process.prepare(load(environ={"PERDURE_LOG_LEVEL": "debug"}), shown=True)
    assert logging.getLogger("perdure.attempt").isEnabledFor(logging.DEBUG)


def test_the_first_signal_asks_and_the_second_asks_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: list[int] = []
    monkeypatch.setattr(process, "leave", left.append)
    before = signal.getsignal(signal.SIGTERM)

    async def main(stop: process.Stop) -> int:
        stop.listen()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.asked.wait(), 5)
        assert not stop.again.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(stop.again.wait(), 5)
        assert left == []
        os.kill(os.getpid(), signal.SIGINT)  # a third one does not wait for anything
        await asyncio.sleep(0)
        return stop.exit_code

    monkeypatch.setattr(process, "HURRY", 3600)
    assert process.run_process(main) == 130
    assert left == [130]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_process_that_ended_as_asked_is_not_ended_again() -> None:
    """Whoever ran a command inside a longer process keeps it."""

    async def main(stop: process.Stop) -> int:
        stop.listen()
        stop.limit = 3600
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.asked.wait(), 5)
        return 0

    before = set(threading.enumerate())
    assert process.run_process(main) == 0
    for thread in set(threading.enumerate()) - before:
        thread.join(5)  # a timer that was cancelled ends at once
    assert set(threading.enumerate()) <= before
