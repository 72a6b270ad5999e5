"""Agents whose runs are not stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure.app import App
from perdure.errors import BoundaryError
from tests.integration.server.serving import Served, serving


@perdure.step
async def double(x: int) -> int:
    return 2 * x


def _app() -> App:
    app = App()

    @app.agent(durability="none")
    async def quick(x: int) -> int:
        return await double(x)

    @app.agent(durability="none")
    def threaded(x: int) -> int:
        return x + 1

    @app.agent(durability="none")
    async def broken() -> None:
        raise RuntimeError("it broke")

    @app.agent(durability="none")
    async def sleepy() -> str:
        try:
            await perdure.sleep(1)
        except BoundaryError as error:
            return error.code
        return "slept"

    @app.agent(durability="none", timeout=0.01)
    async def stuck() -> None:
        await asyncio.get_running_loop().create_future()

    @app.agent(durability="none")
    async def pieces(n: int) -> Any:
        for i in range(n):
            yield str(i)

    return app


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(_app(), tmp_path) as served:
        yield served


async def _post(served: Served, agent: str, body: Any, **headers: str) -> Any:
    return await served.http.post(f"/api/agents/{agent}/runs", json=body, headers=headers)


async def test_the_result_is_the_answer_and_nothing_is_written(served: Served) -> None:
    answer = await _post(served, "quick", {"input": 4})
    assert answer.status_code == 200
    document = answer.json()
    assert document.pop("trace_id") == document.pop("id").replace("-", "")
    assert document == {
        "agent": "quick",
        "state": "succeeded",
        "durability": "none",
        "result": 8,
    }
    assert (await _post(served, "threaded", {"input": 4})).json()["result"] == 5
    assert (await _post(served, "pieces", {"input": 3})).json()["result"] == "012"
    assert await served.store.stats() == []
    assert (await served.http.get("/api/runs")).json()["runs"] == []


async def test_its_errors_are_problems(served: Served) -> None:
    answer = await _post(served, "broken", {})
    assert (answer.status_code, answer.json()["code"]) == (500, "run_failed")
    assert answer.json()["detail"] == "RuntimeError: it broke"
    assert (await _post(served, "quick", {"input": "four"})).status_code == 422
    assert (await _post(served, "stuck", {})).json()["code"] == "run_timeout"


async def test_verbs_of_a_run_say_that_there_is_none(served: Served) -> None:
    assert (await _post(served, "sleepy", {})).json()["result"] == "boundary"


async def test_what_needs_a_record_is_refused(served: Served) -> None:
    for headers, body in (
        ({"Idempotency-Key": "k"}, {"input": 1}),
        ({}, {"input": 1, "delay": 5}),
        ({"Accept": "text/event-stream"}, {"input": 1}),
    ):
        answer = await _post(served, "quick", body, **headers)
        assert answer.status_code == 422
        assert "not stored" in answer.json()["detail"]
