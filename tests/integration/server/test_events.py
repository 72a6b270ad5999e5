"""Streams of a run's log: resumed anywhere, nothing missed, nothing twice (E1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

import perdure
from perdure.app import App
from perdure.server import watch
from perdure.server.routes import events
from perdure.store.rows import LogEvent
from tests.integration.server.serving import Sent, Served, serving, sse


def _app() -> App:
    app = App()

    @perdure.step
    async def work(i: int) -> int:
        return i

    @app.agent(park_after=0.0)
    async def talk(n: int) -> str:
        for i in range(n):
            perdure.emit("before", i)
            await work(i)
        word = await perdure.wait_for("go")
        for i in range(n):
            perdure.emit("after", i)
        return str(word)

    return app


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(_app(), tmp_path) as served:
        yield served


async def _start(served: Served, n: int = 3) -> str:
    answer = await served.http.post("/api/agents/talk/runs", json={"input": n})
    run_id: str = answer.json()["id"]
    return run_id


async def _go(served: Served, run_id: str) -> None:
    answer = await served.http.post(f"/api/runs/{run_id}/signals/go", json="now")
    assert answer.status_code == 202


async def _log(served: Served, run_id: str) -> list[LogEvent]:
    return await served.store.events(run_id)


def _is(state: str) -> Callable[[Sent], bool]:
    return lambda event: event.event == "status" and event.data["data"]["state"] == state


async def _until(
    http: httpx2.AsyncClient, url: str, last: Callable[[Sent], bool], **headers: str
) -> list[Sent]:
    """Events up to the first one that ``last`` accepts; then the client hangs up."""
    seen: list[Sent] = []
    async with http.stream("GET", url, headers=headers) as answer:
        assert answer.status_code == 200
        async for event in sse(answer):
            seen.append(event)
            if last(event):
                break
    return seen


async def test_a_whole_run(served: Served) -> None:
    run_id = await _start(served)
    url = f"/api/runs/{run_id}/events"
    first = await _until(served.http, url, _is("waiting"))
    await _go(served, run_id)
    async with served.http.stream("GET", url) as answer:
        events = [event async for event in sse(answer)]  # ends by itself
    assert [e.id for e in events] == [e.seq for e in await _log(served, run_id)]
    assert events[: len(first)] == first
    assert all(e.data["seq"] == e.id and e.data["type"] == e.event for e in events)
    emitted = [
        (e.data["data"]["name"], e.data["data"]["value"]) for e in events if e.event == "emit"
    ]
    assert emitted == [(w, i) for w in ("before", "after") for i in range(3)]
    assert _is("succeeded")(events[-1])


async def test_a_stream_is_resumed_on_another_server(served: Served, tmp_path: Path) -> None:
    async with serving(_app(), tmp_path, work=False) as other:
        run_id = await _start(served)
        url = f"/api/runs/{run_id}/events"
        first = await _until(served.http, url, lambda event: event.id == 3)
        rest = asyncio.create_task(
            _until(other.http, url, _is("succeeded"), **{"Last-Event-ID": str(first[-1].id)})
        )
        await _until(served.http, url, _is("waiting"))
        await _go(served, run_id)
        both = [e.id for e in first + await rest]
        assert both == [e.seq for e in await _log(served, run_id)]


async def test_every_place_to_resume_from_is_right(served: Served) -> None:
    run_id = await _start(served, 1)
    url = f"/api/runs/{run_id}/events"
    await _until(served.http, url, _is("waiting"))
    await _go(served, run_id)
    everything = [e.id for e in await _until(served.http, url, _is("succeeded"))]
    for after in range(everything[-1]):
        found = await _until(served.http, f"{url}?after={after}", _is("succeeded"))
        assert [e.id for e in found] == everything[after:]


async def test_a_stream_of_many_pages(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PAGE", 2)
    run_id = await _start(served, 10)
    url = f"/api/runs/{run_id}/events"
    await _until(served.http, url, _is("waiting"))
    await _go(served, run_id)
    found = await _until(served.http, url, _is("succeeded"))
    assert [e.id for e in found] == [e.seq for e in await _log(served, run_id)]
    assert len(found) > 30


async def test_a_browser_is_told_not_to_come_again(served: Served) -> None:
    run_id = await _start(served, 0)
    await _go(served, run_id)
    url = f"/api/runs/{run_id}/events"
    last = (await _until(served.http, url, _is("succeeded")))[-1].id
    answer = await served.http.get(url, headers={"Last-Event-ID": str(last)})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("media_type", ["application/x-ndjson", "application/jsonl"])
async def test_json_lines(served: Served, media_type: str) -> None:
    run_id = await _start(served, 1)
    await _go(served, run_id)
    url = f"/api/runs/{run_id}/events"
    answer = await served.http.get(url, headers={"Accept": media_type})
    assert answer.headers["content-type"].startswith(media_type)
    seqs = [orjson.loads(line)["seq"] for line in answer.content.splitlines()]
    assert seqs == [e.seq for e in await _log(served, run_id)]
    again = await served.http.get(f"{url}?after={seqs[-1]}", headers={"Accept": media_type})
    assert (again.status_code, again.content) == (200, b"")


async def test_a_lost_wake_up_only_delays(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "POLL", 0.05)
    monkeypatch.setattr(watch.Watch, "told", lambda self, payload: None)
    run_id = await _start(served)
    url = f"/api/runs/{run_id}/events"
    rest = asyncio.create_task(_until(served.http, url, _is("succeeded")))
    await _until(served.http, url, _is("waiting"))
    await _go(served, run_id)
    assert [e.id for e in await rest] == [e.seq for e in await _log(served, run_id)]


async def test_silence_is_filled_with_comments(tmp_path: Path) -> None:
    async with serving(_app(), tmp_path, server__heartbeat="10ms") as served:
        run_id = await _start(served, 0)
        comments = 0
        async with served.http.stream("GET", f"/api/runs/{run_id}/events") as answer:
            async for line in answer.aiter_lines():
                comments += line.startswith(":")
                if comments == 3:
                    break


async def test_a_drain_sends_watchers_away_for_good(served: Served, tmp_path: Path) -> None:
    run_id = await _start(served)
    url = f"/api/runs/{run_id}/events"
    text: list[str] = []
    async with (
        serving(_app(), tmp_path) as other,
        served.http.stream("GET", url) as answer,
    ):
        async for line in answer.aiter_lines():
            text.append(line)
            if '"waiting"' in line:
                served.server.stop()
        assert any("come back" in line for line in text)
        last = max(int(line[4:]) for line in text if line.startswith("id: "))
        await _go(other, run_id)
        rest = await _until(other.http, url, _is("succeeded"), **{"Last-Event-ID": str(last)})
        assert [e.id for e in rest] == [e.seq for e in await _log(other, run_id)][last:]


async def test_head_does_not_stream(served: Served) -> None:
    run_id = await _start(served)
    answer = await served.http.head(f"/api/runs/{run_id}/events")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("position", ["-1", "x", "1.5", "9" * 30])
async def test_positions_that_are_none(served: Served, position: str) -> None:
    run_id = await _start(served)
    for answer in (
        await served.http.get(f"/api/runs/{run_id}/events", params={"after": position}),
        await served.http.get(f"/api/runs/{run_id}/events", headers={"Last-Event-ID": position}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


async def test_events_of_no_run(served: Served) -> None:
    for run_id in ("nope", "00000000-0000-4000-8000-000000000000"):
        answer = await served.http.get(f"/api/runs/{run_id}/events")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_slow_reader_holds_a_page_and_no_more(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is read only as far as the client's socket takes it."""
    big = "x" * 60_000
    run_id = (await served.http.post("/api/agents/talk/runs", json={"input": 0})).json()["id"]
    url = f"/api/runs/{run_id}/events"
    await _until(served.http, url, _is("waiting"))
    event = (await served.store.events(run_id))[0]
    asked: list[int] = []

    async def endless(run_id: str, after: int = 0, limit: int = 500) -> list[LogEvent]:
        asked.append(after)
        value = orjson.dumps({"message": big})
        row: Any = event._replace(type="warning", value=value)
        return [row._replace(seq=after + i) for i in range(1, limit + 1)]

    monkeypatch.setattr(served.store, "events", endless)
    monkeypatch.setattr(events, "PAGE", 10)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]))
    writer.write(f"GET {url} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    await reader.readexactly(1000)
    # Now the client reads no more. Other requests show that the loop has had its turns.
    still = 0
    while still < 20:
        before = len(asked)
        await served.http.get("/healthz")
        still = still + 1 if len(asked) == before else 0
        assert len(asked) * 10 * len(big) < 64 * 1024 * 1024
    writer.close()
