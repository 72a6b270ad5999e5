"""POST /api/agents/{agent}/runs over real HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure.app import App
from perdure.core.run import RunState
from perdure.errors import StoreUnavailable
from perdure.runtime.worker import WorkerSettings
from perdure.store.blobs import MAX_INLINE
from perdure.store.rows import Enqueued, NewRun
from tests.integration.server.serving import Served, serving, sse
from tests.unit.runtime.harness import turns_until


class Shop:
    """Agents of these tests, with doors that the tests open."""

    def __init__(self) -> None:
        self.app = App()
        self.entered = asyncio.Event()
        self.door = asyncio.Event()
        self.calls = 0
        self.app.add(self.greet)
        self.app.add(self.slow)
        self.app.add(self.fail)
        self.app.add(self.echo)

    async def greet(self, name: str) -> str:
        self.calls += 1
        return f"hello {name}"

    async def slow(self, value: Any) -> str:
        self.calls += 1
        self.entered.set()
        await self.door.wait()
        return "through"

    async def fail(self) -> None:
        raise TypeError("a bug")

    async def echo(self, value: Any) -> Any:
        return value


@pytest.fixture
def shop() -> Shop:
    return Shop()


async def test_without_waiting_a_run_is_only_accepted(shop: Shop, tmp_path: Path) -> None:
    async with serving(shop.app, tmp_path, work=False) as served:
        answer = await served.http.post("/api/agents/greet/runs", json={"input": "you"})
        assert answer.status_code == 202
        run = answer.json()
        assert run == {
            "id": run["id"],
            "agent": "greet",
            "state": "queued",
            "trace_id": run["id"].replace("-", ""),
        }
        assert answer.headers["location"] == f"/api/runs/{run['id']}"
        assert (await served.http.get(answer.headers["location"])).json()["input"] == "you"


async def test_waiting_gives_the_result_of_a_run_in_place(shop: Shop, tmp_path: Path) -> None:
    async with serving(shop.app, tmp_path) as served:
        answer = await served.http.post(
            "/api/agents/greet/runs", json={"input": "you"}, headers={"Prefer": "wait=10"}
        )
        assert answer.status_code == 200
        assert answer.json()["result"] == "hello you"
        assert answer.headers["preference-applied"] == "wait=10"
        run = await served.store.get(answer.json()["id"])
        assert run.state is RunState.SUCCEEDED
        assert run.epoch == 1


async def test_in_place_means_that_no_queue_is_in_between(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(shop.app, tmp_path) as served:
        leased: list[str | None] = []
        enqueue = served.store.enqueue

        async def seen(runs: list[NewRun]) -> list[Enqueued]:
            leased.extend(run.lease_to for run in runs)
            return await enqueue(runs)

        monkeypatch.setattr(served.store, "enqueue", seen)
        await served.http.post("/api/agents/greet/runs?wait=10", json={"input": "you"})
        await served.http.post("/api/agents/greet/runs", json={"input": "you"})
        assert served.service.worker is not None
        assert leased == [served.service.worker.id, None]


async def test_a_wait_that_is_over_becomes_a_job(shop: Shop, tmp_path: Path) -> None:
    async with serving(shop.app, tmp_path) as served:
        answer = await served.http.post("/api/agents/slow/runs?wait=0.05", json={"input": 1})
        assert answer.status_code == 202
        assert answer.json()["state"] == "running"
        waiting = asyncio.create_task(served.http.get(f"{answer.headers['location']}?wait=20"))
        shop.door.set()
        run = (await waiting).json()
        assert (run["state"], run["result"], run["attempts"]) == ("succeeded", "through", 0)
        assert shop.calls == 1


async def test_waiting_for_a_run_that_another_worker_executes(shop: Shop, tmp_path: Path) -> None:
    async with (
        serving(shop.app, tmp_path) as working,
        serving(shop.app, tmp_path, work=False) as front,
    ):
        answer = await front.http.post("/api/agents/greet/runs?wait=20", json={"input": "you"})
        assert (answer.status_code, answer.json()["result"]) == (200, "hello you")
        worker = working.service.worker
        assert worker is not None
        # Its result is told before the worker counts the attempt.
        await turns_until(lambda: worker.finished_attempts)
        assert worker.finished_attempts == 1


async def test_an_agent_known_only_to_other_processes(shop: Shop, tmp_path: Path) -> None:
    async with (
        serving(shop.app, tmp_path),
        serving(App(), tmp_path, work=False) as front,
    ):
        answer = await front.http.post("/api/agents/greet/runs?wait=20", json={"input": "you"})
        assert answer.json()["result"] == "hello you"
        agents = (await front.http.get("/api/agents")).json()["agents"]
        assert [a["here"] for a in agents] == [False] * len(agents)


async def test_a_failed_run_is_an_answer_and_not_an_error(shop: Shop, tmp_path: Path) -> None:
    async with serving(shop.app, tmp_path) as served:
        answer = await served.http.post("/api/agents/fail/runs?wait=10", json={})
        assert answer.status_code == 200
        assert answer.json()["state"] == "failed"
        assert answer.json()["error"] == {"type": "builtins:TypeError", "message": "a bug"}


async def test_a_client_that_leaves_cancels_nothing(shop: Shop, tmp_path: Path) -> None:
    async with serving(shop.app, tmp_path) as served:
        post = asyncio.create_task(
            served.http.post("/api/agents/slow/runs?wait=60", json={"input": 1})
        )
        await shop.entered.wait()
        post.cancel()
        await asyncio.gather(post, return_exceptions=True)
        shop.door.set()
        run = (await served.http.get("/api/runs")).json()["runs"][0]
        shown = (await served.http.get(f"/api/runs/{run['id']}?wait=20")).json()
        assert (shown["state"], shown["cancel_requested"]) == ("succeeded", False)


async def test_streaming_from_the_start(tmp_path: Path) -> None:
    app = App()

    @app.agent
    async def count(n: int) -> Any:
        for i in range(n):
            yield i

    async with (
        serving(app, tmp_path) as served,
        served.http.stream(
            "POST",
            "/api/agents/count/runs",
            json={"input": 3},
            headers={"Accept": "text/event-stream"},
        ) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [event async for event in sse(answer)]
        items = [i for e in events if e.event == "delta" for i in e.data["data"]["items"]]
        assert items == [0, 1, 2]
        assert [e.id for e in events] == list(range(1, len(events) + 1))
        assert events[-1].data["data"]["state"] == "succeeded"
        run = (await served.http.get(answer.headers["location"])).json()
        assert run["result"] == [0, 1, 2]


async def test_the_same_key_is_the_same_run(shop: Shop, tmp_path: Path) -> None:
    async with serving(shop.app, tmp_path) as served:

        async def post(body: Any, key: str) -> Any:
            return await served.http.post(
                "/api/agents/greet/runs?wait=10", json=body, headers={"Idempotency-Key": key}
            )

        first = await post({"input": "you"}, "k1")
        again = await post({"input": "you"}, '"k1"')
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        assert first.json() == again.json()
        assert (again.status_code, shop.calls) == (200, 1)
        other = await post({"input": "me"}, "k1")
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
        assert (await post({"input": "me"}, "k2")).json()["id"] != first.json()["id"]


async def test_keys_count_for_one_agent_each(shop: Shop, tmp_path: Path) -> None:
    async with serving(shop.app, tmp_path) as served:
        ids = {
            (
                await served.http.post(
                    f"/api/agents/{agent}/runs",
                    json={"input": "x"},
                    headers={"Idempotency-Key": "k"},
                )
            ).json()["id"]
            for agent in ("greet", "echo")
        }
        assert len(ids) == 2


async def test_unknown_agents_are_told_apart_from_typing_errors(shop: Shop, tmp_path: Path) -> None:
    async with serving(shop.app, tmp_path, work=False) as served:
        answer = await served.http.post("/api/agents/gret/runs", json={})
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["close"] == ["greet"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "usage"),
        (b"[]", 422, "invalid_input"),
        (b'{"input": 3}', 422, "invalid_input"),
        (b'{"nput": "x"}', 422, "invalid_input"),
        (b'{"input": ' + b"[" * 60 + b"]" * 60 + b"}", 413, "too_large"),
        (b'{"input": "' + b"x" * 4000 + b'"}', 413, "too_large"),
        (b'{"input": 99999999999999999999}', 422, "invalid_input"),
    ],
)
async def test_bodies_that_are_refused(
    shop: Shop, tmp_path: Path, content: bytes, status: int, code: str
) -> None:
    async with serving(
        shop.app, tmp_path, work=False, server__max_body=2000, server__max_depth=50
    ) as served:
        answer = await served.http.post("/api/agents/greet/runs", content=content)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert await served.store.last_seq("none") == 0
        assert (await served.http.get("/api/runs")).json()["runs"] == []


async def test_a_chunked_body_is_bounded_too(shop: Shop, tmp_path: Path) -> None:
    async with serving(shop.app, tmp_path, work=False, server__max_body=2000) as served:

        async def pieces() -> Any:
            for _ in range(100):
                yield b"x" * 100

        answer = await served.http.post("/api/agents/greet/runs", content=pieces())
        assert answer.status_code == 413


async def test_large_inputs_and_results_go_through_the_blob_store(
    shop: Shop, tmp_path: Path
) -> None:
    text = "x" * (MAX_INLINE + 10)
    async with serving(shop.app, tmp_path) as served:
        answer = await served.http.post("/api/agents/echo/runs?wait=20", json={"input": text})
        assert answer.json()["result"] == text
        stored = await served.store.get(answer.json()["id"])
        assert stored.input is not None
        assert len(stored.input) < 100
        shown = (await served.http.get(f"/api/runs/{stored.id}")).json()
        assert (shown["input"], shown["result"]) == (text, text)


async def test_a_full_queue_refuses(shop: Shop, tmp_path: Path) -> None:
    async with serving(shop.app, tmp_path, work=False, server__max_queued=2) as served:
        codes = [
            (await served.http.post("/api/agents/greet/runs", json={"input": "x"})).status_code
            for _ in range(3)
        ]
        assert codes == [202, 202, 429]
        refused = await served.http.post("/api/agents/greet/runs", json={"input": "x"})
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["code"] == "backpressure"
        other = await served.http.post("/api/agents/echo/runs", json={"input": "x"})
        assert other.status_code == 202


async def test_labels_priority_and_delay_reach_the_run(shop: Shop, tmp_path: Path) -> None:
    async with serving(shop.app, tmp_path, work=False) as served:
        body = {"input": "x", "labels": {"team": "red"}, "priority": 7, "delay": 60, "timeout": 90}
        answer = await served.http.post("/api/agents/greet/runs", json=body)
        run = (await served.http.get(answer.headers["location"])).json()
        assert (run["labels"], run["priority"], run["state"]) == ({"team": "red"}, 7, "waiting")
        assert run["deadline_at"] is not None
        assert run["wake_at"] is not None


async def test_a_worker_without_room_leaves_the_run_to_the_queue(
    shop: Shop, tmp_path: Path
) -> None:
    one = WorkerSettings(concurrency=1)
    async with serving(shop.app, tmp_path, worker=one) as served:
        await served.http.post("/api/agents/slow/runs", json={"input": 1})
        await shop.entered.wait()
        answer = await served.http.post("/api/agents/greet/runs?wait=0.01", json={"input": "x"})
        assert (answer.status_code, answer.json()["state"]) == (202, "queued")
        shop.door.set()
        run = (await served.http.get(f"{answer.headers['location']}?wait=20")).json()
        assert run["result"] == "hello x"


async def test_a_crowd_never_has_more_attempts_than_slots(tmp_path: Path) -> None:
    app = App()
    now = most = 0

    @app.agent
    async def crowd(value: Any) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(10):
            await asyncio.sleep(0)
        now -= 1

    async with serving(app, tmp_path, worker=WorkerSettings(concurrency=3)) as served:
        answers = await asyncio.gather(
            *(served.http.post("/api/agents/crowd/runs?wait=30", json={}) for _ in range(30))
        )
        assert {answer.json()["state"] for answer in answers} == {"succeeded"}
        assert most <= 3


async def test_a_run_that_parks_in_place_is_waited_for(tmp_path: Path) -> None:
    app = App()

    @app.agent(park_after=0.0)
    async def ask() -> Any:
        return await perdure.wait_for("answer")

    async with serving(app, tmp_path) as served:
        post = asyncio.create_task(served.http.post("/api/agents/ask/runs?wait=20", json={}))
        run_id = await _first_run(served, RunState.WAITING)
        await served.http.post(f"/api/runs/{run_id}/signals/answer", json=42)
        answer = await post
        assert (answer.status_code, answer.json()["result"]) == (200, 42)


async def _first_run(served: Served, state: RunState) -> str:
    """The id of the only run, as soon as it is in ``state``."""
    while True:
        runs = (await served.http.get("/api/runs", params={"state": state.value})).json()["runs"]
        if runs:
            run_id: str = runs[0]["id"]
            return run_id


async def test_a_lease_whose_answer_was_lost_is_executed_all_the_same(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(shop.app, tmp_path) as served:
        enqueue = served.store.enqueue
        lost: list[str] = []

        async def losing(runs: list[NewRun]) -> list[Enqueued]:
            answers = await enqueue(runs)
            if not lost:
                lost.append(answers[0].id)
                raise StoreUnavailable("The connection broke after the commit.")
            return answers

        monkeypatch.setattr(served.store, "enqueue", losing)
        answer = await served.http.post("/api/agents/greet/runs?wait=10", json={"input": "x"})
        assert answer.status_code == 503
        run = (await served.http.get(f"/api/runs/{lost[0]}?wait=20")).json()
        assert (run["state"], run["result"]) == ("succeeded", "hello x")
