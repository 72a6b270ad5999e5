"""A run whose large values are in a bucket, and a bucket that is away for a while."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

import perdure
from perdure.codec import BLOB
from perdure.errors import StoreUnavailable
from perdure.runtime.housekeeping import Pace, Pruning
from perdure.store.blobs import MAX_INLINE, make_blobs
from perdure.store.retention import Keeping
from tests.running import Ground


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "simulated")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "simulated")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="runs")
    yield f"s3://runs/here?endpoint={endpoint}&region=us-east-1"
    server.stop()


async def test_runs_over_a_bucket(address: str, tmp_path: Path) -> None:
    ground = Ground(tmp_path)
    ground.blobs = make_blobs(address)  # type: ignore[assignment]
    put, away = ground.blobs.put, [StoreUnavailable("away"), StoreUnavailable("away")]

    def unsteady(data: bytes) -> bytes:
        if away:
            raise away.pop()
        return put(data)

    ground.blobs.put = unsteady  # type: ignore[method-assign]
    calls: list[int] = []

    @perdure.step
    async def grow(n: int) -> str:
        calls.append(n)
        return "x" * n

    async def agent(n: int) -> list[Any]:
        text = await grow(n)
        word = await perdure.wait_for("go")
        return [len(text), word, text]

    app = perdure.App()
    app.add(agent, park_after=0)
    await ground.open()
    try:
        await ground.begin(app)
        run_id = await ground.start("agent", MAX_INLINE + 1)
        await ground.until(run_id, "waiting")
        await ground.store.signal(run_id, "go", b'"on"')
        run = await ground.until(run_id)
        assert run.state == "succeeded", run.error
        assert run.result is not None
        assert run.result[:1] == BLOB
        assert ground.blobs.get(run.result).startswith(b'[262145,"on","xxx')
        assert calls == [MAX_INLINE + 1], "the outage cost no attempt and no step"
        assert len(list(ground.blobs.stored())) == 2
        swept = Keeping(blobs=timedelta(hours=1))
        done = await Pruning(ground.store, ground.blobs, swept, pace=Pace(0, 0)).run()
        assert done.blobs == 0
    finally:
        await ground.close()
