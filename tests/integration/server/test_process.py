"""The server as a process: signals, kill -9, and what a client sees of them."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from tests.integration.server.serving import Sent, sse

ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def _process(folder: Path) -> AsyncIterator[tuple[Process, httpx2.AsyncClient]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.server.program", str(folder),
        cwd=ROOT, stdout=PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        url = (await process.stdout.readline()).decode().strip()
        async with httpx2.AsyncClient(base_url=url, timeout=60) as http:
            yield process, http
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _until(http: httpx2.AsyncClient, run_id: str, after: int, stop: str) -> list[Sent]:
    """Events after ``after`` up to the first whose JSON holds ``stop``."""
    seen: list[Sent] = []
    headers = {"Last-Event-ID": str(after)}
    async with http.stream("GET", f"/api/runs/{run_id}/events", headers=headers) as answer:
        async for event in sse(answer):
            seen.append(event)
            if stop in str(event.data):
                break
    return seen


@pytest.mark.kill
async def test_a_stream_outlives_the_kill_of_its_server(tmp_path: Path) -> None:
    """E1: what a client saw before, and what it sees after from another process with the last id
    it had, are together the log: nothing is missing, nothing comes twice."""
    async with _process(tmp_path) as (process, http):
        run = (await http.post("/api/agents/talk/runs", json={"input": 5})).json()["id"]
        first = await _until(http, run, 0, "'value': 4")
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with _process(tmp_path) as (_, http):
        await http.post(f"/api/runs/{run}/signals/go")
        rest = await _until(http, run, first[-1].id, "succeeded")
        whole = await _until(http, run, 0, "succeeded")
    together = first + rest
    assert [e.id for e in together] == list(range(1, together[-1].id + 1))
    assert together == whole
    emitted = [e.data["data"] for e in together if e.event == "emit"]
    assert [(d["name"], d["value"]) for d in emitted] == [
        (word, i) for word in ("before", "after") for i in range(5)
    ]
    assert sum(e.event == "attempt.started" for e in together) == 2


async def test_a_signal_drains(tmp_path: Path) -> None:
    """SIGTERM: the attempt ends between two effects without counting as a failure, watchers are
    sent away, and the process ends well."""
    async with _process(tmp_path) as (process, http):
        run = (await http.post("/api/agents/talk/runs", json={"input": 1})).json()["id"]
        async with http.stream("GET", f"/api/runs/{run}/events") as answer:
            text = ""
            async for line in answer.aiter_lines():
                text += line
                if '"value":0' in line and process.returncode is None and "emit" in line:
                    process.send_signal(signal.SIGTERM)
        assert "come back" in text
        assert process.stdout is not None
        assert await process.stdout.readline() == b"drained\n"
        assert await process.wait() == 0
    async with _process(tmp_path) as (_, http):
        await http.post(f"/api/runs/{run}/signals/go")
        shown = (await http.get(f"/api/runs/{run}?wait=30")).json()
        assert (shown["state"], shown["attempts"]) == ("succeeded", 0)
        assert shown["epoch"] == 2


async def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    """Code that cannot be stopped holds up a drain; the second signal ends it all the same."""
    async with _process(tmp_path) as (process, http):
        run = (await http.post("/api/agents/stubborn/runs", json={})).json()["id"]
        while (await http.get(f"/api/runs/{run}")).json()["state"] != "running":
            pass
        process.send_signal(signal.SIGTERM)
        while (await http.get("/readyz")).status_code != 503:
            pass
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"drained\n"
        assert await process.wait() == 9
