"""Lists and single runs, unknown paths and methods, probes and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from perdure.app import App
from perdure.errors import StoreUnavailable
from perdure.server.routes import probes
from tests.integration.server.serving import Served, serving


def _app() -> App:
    app = App()

    @app.agent
    async def greet(name: str) -> str:
        """Say hello.

        At length."""
        return f"hello {name}"

    @app.agent
    async def other(value: Any) -> bytes:
        return b"\x00raw"

    return app


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(_app(), tmp_path) as served:
        yield served


async def _run(served: Served, agent: str = "greet", **body: Any) -> str:
    answer = await served.http.post(
        f"/api/agents/{agent}/runs?wait=20", json={"input": "you", **body}
    )
    run_id: str = answer.json()["id"]
    return run_id


async def test_one_run(served: Served) -> None:
    run_id = await _run(served, labels={"a": "b"})
    shown = (await served.http.get(f"/api/runs/{run_id}")).json()
    assert (shown["id"], shown["agent"], shown["state"]) == (run_id, "greet", "succeeded")
    assert (shown["input"], shown["result"], shown["labels"]) == ("you", "hello you", {"a": "b"})
    assert shown["created_at"].endswith("+00:00")
    upper = await served.http.get(f"/api/runs/{run_id.upper()}")
    assert upper.json()["id"] == run_id


async def test_raw_bytes_are_base64(served: Served) -> None:
    shown = (await served.http.get(f"/api/runs/{await _run(served, 'other')}")).json()
    assert (shown["result"], shown["result_encoding"]) == ("AHJhdw==", "base64")


async def test_waiting_for_a_final_run_takes_no_time(served: Served) -> None:
    run_id = await _run(served)
    async with asyncio.timeout(5):
        answer = await served.http.get(f"/api/runs/{run_id}", headers={"Prefer": "wait=60"})
    assert answer.headers["preference-applied"] == "wait=60"


async def test_filters(served: Served) -> None:
    first = await _run(served, labels={"team": "red"})
    second = await _run(served, "other", labels={"team": "blue", "x": "a:b"})
    delayed = await _run_later(served)

    async def found(query: str) -> list[str]:
        answer = await served.http.get(f"/api/runs?{query}")
        assert answer.status_code == 200
        return [run["id"] for run in answer.json()["runs"]]

    assert await found("") == [delayed, second, first]
    assert await found("agent=other") == [second]
    assert await found("state=succeeded") == [second, first]
    assert await found("state=waiting&state=failed") == [delayed]
    assert await found("state=waiting,succeeded") == [delayed, second, first]
    assert await found("label=team:red") == [first]
    assert await found("label=team:blue&label=x:a:b") == [second]
    assert await found("label=team:red&label=x:a:b") == []
    assert await found("tenant=nobody") == []
    middle = (await served.store.get(second)).created_at.isoformat().replace("+00:00", "Z")
    assert await found(f"created_before={middle}") == [first]
    assert delayed in await found(f"created_after={middle}")
    assert first not in await found(f"created_after={middle}")


async def _run_later(served: Served) -> str:
    answer = await served.http.post("/api/agents/greet/runs", json={"input": "x", "delay": 600})
    run_id: str = answer.json()["id"]
    return run_id


async def test_pages_follow_the_link(served: Served) -> None:
    ids = [await _run_later(served) for _ in range(5)]
    url, seen = "/api/runs?agent=greet&limit=2", []
    while url:
        answer = await served.http.get(url)
        seen += [run["id"] for run in answer.json()["runs"]]
        url = answer.links["next"]["url"] if "next" in answer.links else ""
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=201", "limit=x", "state=done", "label=red", "label=:x", "before=x",
        "created_after=yesterday", "created_after=2026-01-01T00:00:00", "colour=red",
        "agent=a&agent=b",
    ],
)  # fmt: skip
async def test_filters_that_are_none(served: Served, query: str) -> None:
    answer = await served.http.get(f"/api/runs?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


async def test_agents(served: Served) -> None:
    agents = (await served.http.get("/api/agents")).json()["agents"]
    assert [a["name"] for a in agents] == ["greet", "other"]
    greet = (await served.http.get("/api/agents/greet")).json()
    assert (greet["description"], greet["here"]) == ("Say hello.", True)
    assert greet["input_schema"] == {"type": "string"}
    assert (await served.http.get("/api/agents/great")).json()["close"] == ["greet"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "/api/runs/", 404),
        ("GET", "/api/runs/xyz", 404),
        ("POST", "/api/runs/xyz/cancel", 404),
        ("GET", "/api/agents/greet/runs", 405),
        ("DELETE", "/api/runs", 405),
        ("PUT", "/api/runs/xyz/cancel", 405),
    ],
)
async def test_paths_and_methods_that_are_none(
    served: Served, method: str, path: str, status: int
) -> None:
    answer = await served.http.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["instance"] == path
    assert ("allow" in answer.headers) == (status == 405)


async def test_options_and_head(served: Served) -> None:
    answer = await served.http.options("/api/agents/greet/runs")
    assert (answer.status_code, answer.headers["allow"]) == (204, "OPTIONS, POST")
    head = await served.http.head("/api/runs")
    assert (head.status_code, head.content) == (200, b"")


async def test_a_mistake_of_the_servers_tells_nothing_of_itself(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*args: Any, **more: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(served.store, "find", broken)
    answer = await served.http.get("/api/runs")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert "secret detail" in caplog.text


async def test_a_store_that_is_away_is_a_503(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*args: Any, **more: Any) -> Any:
        raise StoreUnavailable("The database is away.")

    monkeypatch.setattr(served.store, "find", away)
    answer = await served.http.get("/api/runs")
    assert (answer.status_code, answer.json()["retryable"]) == (503, True)
    assert "retry-after" in answer.headers


async def test_health_asks_nobody(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.service, "store", None)
    assert (await served.http.get("/healthz")).status_code == 200


async def test_readiness(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = await served.http.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"ready": True, "checks": {"store": "ok", "worker": "ok"}}
    monkeypatch.setattr(probes, "FRESH", 0.0)

    async def away() -> tuple[int, int]:
        raise StoreUnavailable("password=hunter2")

    async def older() -> tuple[int, int]:
        return 1, 2

    async def silent() -> tuple[int, int]:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    monkeypatch.setattr(served.store, "schema", away)
    answer = await served.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["store"] == "store_unavailable"
    monkeypatch.setattr(served.store, "schema", older)
    assert "schema is 1" in (await served.http.get("/readyz")).json()["checks"]["store"]
    monkeypatch.setattr(probes, "PATIENCE", 0.01)
    monkeypatch.setattr(served.store, "schema", silent)
    assert "no answer" in (await served.http.get("/readyz")).json()["checks"]["store"]


async def test_readiness_while_draining(served: Served) -> None:
    served.service.begin_drain()
    answer = await served.http.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["server"]) == (503, "draining")


async def test_metrics(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = await _run(served)
    await served.http.get(f"/api/runs/{run_id}")
    await served.http.get("/wp-admin.php")
    monkeypatch.setattr(served.service.pressure, "_fresh_until", 0.0)
    answer = await served.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = answer.text
    assert 'perdure_runs{queue="greet",state="succeeded"} 1' in text
    assert 'route="/api/runs/{id}",status="200"} 1' in text
    assert 'route="none",status="404"} 1' in text
    assert "perdure_attempts_total 1" in text
    assert "perdure_store_up 1" in text
    assert run_id not in text
    assert "wp-admin" not in text


async def test_metrics_without_a_store(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away() -> Any:
        raise StoreUnavailable("away")

    await served.http.get("/healthz")
    monkeypatch.setattr(served.store, "stats", away)
    monkeypatch.setattr(served.service.pressure, "_fresh_until", 0.0)
    text = (await served.http.get("/metrics")).text
    assert "perdure_store_up 0" in text
    assert "perdure_http_requests_total" in text
