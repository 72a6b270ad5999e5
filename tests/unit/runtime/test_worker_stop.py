"""Stopping a worker whose agent does not cooperate."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from perdure.runtime import worker as module
from perdure.runtime.agent import from_function
from perdure.runtime.worker import Worker
from perdure.store import make_store
from perdure.store.blobs import FileBlobs
from perdure.store.ids import new_run_id
from perdure.store.rows import NewRun
from tests.unit.runtime.harness import House


async def test_a_thread_that_never_ends_does_not_hold_up_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "STOP", module.STOP / 20)
    began, go = threading.Event(), threading.Event()

    def stubborn() -> None:
        began.set()
        go.wait()

    store = make_store(f"sqlite:///{tmp_path}/perdure.db")
    await store.open(check=False)
    await store.upgrade()
    worker = Worker(store, FileBlobs(tmp_path / "blobs"), {"stubborn": from_function(stubborn)})
    await worker.start()
    try:
        run = NewRun(new_run_id(), "stubborn", b"null", queue="stubborn")
        await store.enqueue([run])
        await asyncio.to_thread(began.wait, 10)
        await worker.stop()
        assert "left behind" in caplog.text
        assert (await store.get(run.id)).state == "queued"
    finally:
        go.set()
        await store.close()


async def test_the_end_of_an_attempt_does_not_hide_the_next_one_of_its_run(house: House) -> None:
    """A run that hops may be claimed again before the end of its first attempt's task is told."""
    seen: list[bool] = []

    async def agent() -> None: ...

    house.serve(agent)
    worker = await house.worker(claim=False)
    run_id = await house.submit("agent")
    lease = await house.lease(worker)
    first = worker.take(lease)
    second = worker.take(lease)
    first.add_done_callback(lambda _: seen.append(run_id in worker._running))
    await asyncio.wait({first, second})
    assert seen == [True]
    assert not worker.running
