"""Cancel, signal, resolve, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure.app import App
from perdure.server.routes import actions
from tests.integration.server.serving import Served, serving

NOBODY = "00000000-0000-4000-8000-000000000000"


class Shop:
    def __init__(self) -> None:
        self.app = App()
        self.sent: list[str] = []
        self.entered = asyncio.Event()

        @perdure.step(effect="once", name="send")
        async def send(to: str) -> str:
            self.sent.append(to)
            raise ConnectionError("no answer")

        @self.app.agent
        async def mail(to: str) -> str:
            return await send(to)

        @self.app.agent(park_after=0.0)
        async def ask(times: int) -> list[Any]:
            return [await perdure.wait_for("answer") for _ in range(times)]

        @self.app.agent
        async def stuck() -> None:
            self.entered.set()
            await asyncio.get_running_loop().create_future()


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
async def served(shop: Shop, tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(shop.app, tmp_path) as served:
        yield served


async def _start(served: Served, agent: str, value: Any = None, state: str = "") -> str:
    """A run, in ``state`` if one is given."""
    answer = await served.http.post(f"/api/agents/{agent}/runs", json={"input": value})
    run_id: str = answer.json()["id"]
    if state:
        async with served.service.watches.of(run_id) as watch:
            while (await served.store.get(run_id)).state != state:
                await watch.moved(5)
    return run_id


async def test_a_waiting_run_is_cancelled_at_once(served: Served) -> None:
    run_id = await _start(served, "ask", 1, "waiting")
    answer = await served.http.post(f"/api/runs/{run_id}/cancel", json={"reason": "enough"})
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    again = await served.http.post(f"/api/runs/{run_id}/cancel")
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")


async def test_a_running_run_is_asked_to_stop(served: Served, shop: Shop) -> None:
    run_id = await _start(served, "stuck")
    await shop.entered.wait()
    answer = await served.http.post(f"/api/runs/{run_id}/cancel")
    assert (answer.status_code, answer.json()["cancel_requested"]) == (202, True)
    shown = (await served.http.get(f"/api/runs/{run_id}?wait=20")).json()
    assert shown["state"] == "cancelled"


async def test_what_is_done_cannot_be_cancelled(served: Served) -> None:
    run_id = await _start(served, "ask", 0, "succeeded")
    answer = await served.http.post(f"/api/runs/{run_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_signals_reach_their_run_in_order(served: Served) -> None:
    run_id = await _start(served, "ask", 3, "waiting")
    url = f"/api/runs/{run_id}/signals/answer"
    told = [
        await served.http.post(url, json={"a": 1}),
        await served.http.post(url, content=b""),
        await served.http.post(url, json="x"),
    ]
    assert [t.status_code for t in told] == [202, 202, 202]
    assert [t.json()["n"] for t in told] == [1, 2, 3]
    shown = (await served.http.get(f"/api/runs/{run_id}?wait=20")).json()
    assert shown["result"] == [{"a": 1}, None, "x"]


async def test_a_signal_sent_twice_with_a_key_counts_once(served: Served) -> None:
    run_id = await _start(served, "ask", 2, "waiting")
    url = f"/api/runs/{run_id}/signals/answer"
    keyed = {"Idempotency-Key": "k1"}
    told = [await served.http.post(url, json=i, headers=keyed) for i in (1, 1)]
    assert [t.json()["n"] for t in told] == [1, 1]
    await served.http.post(url, json=2)
    shown = (await served.http.get(f"/api/runs/{run_id}?wait=20")).json()
    assert shown["result"] == [1, 2]


async def test_signals_that_are_refused(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = await _start(served, "ask", 1, "waiting")

    async def post(name: str, content: bytes, run: str = run_id) -> tuple[int, str]:
        answer = await served.http.post(f"/api/runs/{run}/signals/{name}", content=content)
        return answer.status_code, answer.json()["code"]

    assert await post("answer", b"{") == (400, "usage")
    assert await post(f"run:{NOBODY}", b"{}") == (422, "invalid_input")
    assert await post("x" * 300, b"{}") == (422, "invalid_input")
    assert await post("answer", b"1", NOBODY) == (404, "not_found")
    monkeypatch.setattr(actions, "MAX_INLINE", 10)
    assert await post("answer", b'"12345678901"') == (413, "too_large")


@pytest.mark.parametrize("named", [True, False])
async def test_it_happened(served: Served, shop: Shop, named: bool) -> None:
    run_id = await _start(served, "mail", "you", "waiting")
    (wait,) = (await served.http.get(f"/api/runs/{run_id}")).json()["waits"]
    assert wait["reason"] == "uncertain"
    body = {"answer": "done", "value": "receipt 7", **({"key": wait["key"]} if named else {})}
    answer = await served.http.post(f"/api/runs/{run_id}/resolve", json=body)
    assert answer.status_code == 200
    shown = (await served.http.get(f"/api/runs/{run_id}?wait=20")).json()
    assert (shown["result"], shop.sent) == ("receipt 7", ["you"])


async def test_do_it_again(served: Served, shop: Shop) -> None:
    run_id = await _start(served, "mail", "you", "waiting")
    await served.http.post(f"/api/runs/{run_id}/resolve", json={"answer": "redo"})
    async with served.service.watches.of(run_id) as watch:
        while len(shop.sent) < 2 or (await served.store.get(run_id)).state != "waiting":
            await watch.moved(5)
    assert shop.sent == ["you", "you"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"answer": "maybe"}, 422),
        ({"answer": "redo", "value": 1}, 422),
        ({"answer": "redo", "key": "zz"}, 422),
        ({"answer": "redo", "key": 5}, 422),
        ({"answer": "redo", "extra": 1}, 422),
        ([], 422),
        ({"answer": "redo", "key": "00"}, 409),
        ({"answer": "redo"}, 409),
    ],
)
async def test_answers_that_are_refused(served: Served, body: Any, status: int) -> None:
    run_id = await _start(served, "ask", 1, "waiting")
    answer = await served.http.post(f"/api/runs/{run_id}/resolve", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
