"""Events over a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import websockets
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection

import perdure
from perdure.app import App
from perdure.server.keys import READ, SCOPES, create
from perdure.server.routes import socket as route
from tests.integration.server.serving import Served, serving

app = App()


@perdure.step
async def look(i: int) -> int:
    return i


@app.agent(park_after=60.0)
async def talk(n: int) -> str:
    for i in range(n):
        perdure.emit("said", i)
        await look(i)
    await perdure.wait_for("go")
    return "done"


@app.agent
async def big(n: int) -> None:
    for _ in range(n):
        perdure.emit("much", "x" * 50_000)
        await look(0)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(app, tmp_path) as one:
        yield one


def _url(served: Served, run: str, query: str = "") -> str:
    return f"ws{served.url[4:]}/api/runs/{run}/ws{query}"


async def _start(served: Served, agent: str, n: int) -> str:
    answer = await served.http.post(f"/api/agents/{agent}/runs", json={"input": n})
    run: str = answer.json()["id"]
    return run


async def _all(socket: ClientConnection) -> list[dict[str, Any]]:
    return [word async for text in socket if "seq" in (word := orjson.loads(text))]


async def _logged(served: Served, run: str) -> list[dict[str, Any]]:
    headers = {"accept": "application/x-ndjson"}
    answer = await served.http.get(f"/api/runs/{run}/events", headers=headers)
    return [orjson.loads(line) for line in answer.text.splitlines()]


async def test_it_is_the_log_and_it_ends_with_the_run(served: Served) -> None:
    run = await _start(served, "talk", 3)
    async with websockets.connect(_url(served, run)) as socket:
        seen: list[dict[str, Any]] = []
        while not (seen and seen[-1]["data"].get("value") == 2):
            seen.append(orjson.loads(await socket.recv()))
        await served.http.post(f"/api/runs/{run}/signals/go")
        seen += await _all(socket)
        assert socket.close_code == 1000
    assert seen == await _logged(served, run)
    async with websockets.connect(_url(served, run, "?after=3")) as socket:
        assert await _all(socket) == seen[3:]


async def test_pings_are_answered(served: Served) -> None:
    run = await _start(served, "talk", 0)
    async with websockets.connect(_url(served, run)) as socket:
        await socket.send("nonsense")
        await socket.send('{"type": "ping"}')
        while orjson.loads(await socket.recv()) != {"type": "pong"}:
            pass


async def test_a_silent_stream_says_something(tmp_path: Path) -> None:
    async with serving(app, tmp_path, server__heartbeat="0.05s") as served:
        run = await _start(served, "talk", 0)
        async with websockets.connect(_url(served, run)) as socket:
            while orjson.loads(await socket.recv()) != {"type": "ping"}:
                pass


async def test_refusals_are_problem_documents(served: Served) -> None:
    for run, query, code in (
        ("0" * 32, "", "not_found"),
        ("nonsense", "", "not_found"),
        ("0" * 32, "?after=x", "invalid_input"),
    ):
        with pytest.raises(websockets.InvalidStatus) as caught:
            await websockets.connect(_url(served, run, query))
        assert caught.value.response.body is not None
        assert orjson.loads(caught.value.response.body)["code"] == code


async def test_a_foreign_page_does_not_get_in(served: Served) -> None:
    run = await _start(served, "talk", 0)
    with pytest.raises(websockets.InvalidStatus) as caught:
        await websockets.connect(
            _url(served, run), origin=websockets.Origin("https://evil.example")
        )
    assert caught.value.response.status_code == 403


async def test_a_drain_sends_it_away(tmp_path: Path) -> None:
    async with serving(app, tmp_path) as served:
        run = await _start(served, "talk", 0)
        async with websockets.connect(_url(served, run)) as socket:
            await socket.recv()
            served.service.begin_drain()
            with pytest.raises(websockets.ConnectionClosed):
                await _all(socket)
            assert socket.close_code == 1012


async def _keyed(served: Served) -> str:
    token, _ = await create(served.store, "test", SCOPES)
    served.service.access._read_at = float("-inf")
    served.http.headers["Authorization"] = f"Bearer {token}"
    return token


async def test_three_ways_to_bring_a_key(served: Served) -> None:
    token = await _keyed(served)
    run = await _start(served, "big", 1)
    bearer = {"Authorization": f"Bearer {token}"}
    async with websockets.connect(_url(served, run), additional_headers=bearer) as socket:
        seen = await _all(socket)
    protocols = [websockets.Subprotocol(p) for p in ("perdure.v1", f"perdure.key.{token}")]
    async with websockets.connect(_url(served, run), subprotocols=protocols) as socket:
        assert socket.subprotocol == "perdure.v1"
        assert await _all(socket) == seen
    async with websockets.connect(_url(served, run)) as socket:
        await socket.send(orjson.dumps({"type": "auth", "key": token}).decode())
        assert await _all(socket) == seen


async def test_without_a_key_nothing_is_told(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "FIRST_WORD", 0.05)
    await _keyed(served)
    run = await _start(served, "talk", 0)
    for first in (None, '{"type": "auth", "key": "pk_a_b"}', '{"type": "auth"}', "[]"):
        async with websockets.connect(_url(served, run)) as socket:
            if first is not None:
                await socket.send(first)
            said = orjson.loads(await socket.recv())
            assert (said["type"], said["data"]["code"]) == ("problem", "unauthorized")
            with pytest.raises(websockets.ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 1008
    wrong = [websockets.Subprotocol("perdure.key.pk_a_b")]
    with pytest.raises(websockets.InvalidStatus) as caught:
        await websockets.connect(_url(served, run), subprotocols=wrong)
    assert caught.value.response.status_code == 401


async def test_a_key_without_the_scope(served: Served) -> None:
    await _keyed(served)
    run = await _start(served, "talk", 0)
    token, _ = await create(served.store, "writer", ["runs:write"])
    served.service.access._read_at = float("-inf")
    assert READ not in ["runs:write"]
    with pytest.raises(websockets.InvalidStatus) as caught:
        await websockets.connect(
            _url(served, run), additional_headers={"Authorization": f"Bearer {token}"}
        )
    assert caught.value.response.status_code == 403


async def test_a_reader_that_takes_nothing_is_sent_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds a page of events and what the socket buffers, not the whole log; and it comes back
    with the last seq that it has."""
    sent_away, close = asyncio.Event(), route.Socket._close_slow

    async def closed(self: route.Socket, socket: WebSocket) -> None:
        await close(self, socket)
        sent_away.set()

    monkeypatch.setattr(route.Socket, "_close_slow", closed)
    async with serving(app, tmp_path, server__request_timeout="0.3s") as served:
        run = await _start(served, "big", 300)
        await served.http.get(f"/api/runs/{run}?wait=60", timeout=70)
        seen: list[dict[str, Any]] = []
        reads = _count(served)
        async with websockets.connect(
            _url(served, run), max_queue=1, compression=None, ping_interval=None
        ) as socket:
            async with asyncio.timeout(20):
                await sent_away.wait()
            assert reads[0] <= 4
            try:
                while True:
                    seen.append(orjson.loads(await socket.recv()))
            except websockets.ConnectionClosed:
                pass
        assert 0 < len(seen) < 500
        last = seen[-1]["seq"]
        async with websockets.connect(_url(served, run, f"?after={last}")) as socket:
            seen += await _all(socket)
        assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
        assert seen[-1]["data"]["state"] == "succeeded"


def _count(served: Served) -> list[int]:
    """How many pages of events are read from now on."""
    count, events = [0], served.store.events

    async def counted(*args: Any, **more: Any) -> Any:
        count[0] += 1
        return await events(*args, **more)

    served.store.events = counted  # type: ignore[method-assign]
    return count
