"""Listings: cursors, fields, filters; dead letters; traces; the load; CORS; quota."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure.app import App
from perdure.core.trace import trace_id
from tests.integration.server.serving import Served, serving

GIVEN = f"00-{'a' * 32}-{'b' * 16}-01"


class Agents:
    def __init__(self) -> None:
        self.app = App()
        self.broken = True
        self.seen: list[str] = []
        child = self.app.add(self.child)

        async def parent() -> str:
            self.seen.append(perdure.current().trace_id)
            result: str = await child.run()
            return result

        self.app.add(parent, name="parent")
        self.app.add(self.flaky, retry=perdure.RetryPolicy(attempts=1))

    async def child(self) -> str:
        self.seen.append(perdure.current().trace_id)
        return perdure.current().traceparent

    async def flaky(self) -> str:
        if self.broken:
            raise ConnectionError("away")
        return "back"


async def _started(served: Served, agent: str = "child", **more: Any) -> str:
    answer = await served.http.post(f"/api/agents/{agent}/runs", json={}, **more)
    assert answer.status_code in (200, 202), answer.text
    run: str = answer.json()["id"]
    return run


async def _get(served: Served, path: str, **more: Any) -> Any:
    answer = await served.http.get(path, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


# -- pages ----------------------------------------------------------------------------------------


async def test_pages_hold_while_runs_are_added(tmp_path: Path) -> None:
    async with serving(Agents().app, tmp_path, work=False) as served:
        runs = [await _started(served) for _ in range(5)]
        first = await _get(served, "/api/runs?limit=2&agent=child")
        assert [run["id"] for run in first["runs"]] == [runs[4], runs[3]]
        await _started(served)
        second = await _get(served, f"/api/runs?limit=2&agent=child&cursor={first['next']}")
        assert [run["id"] for run in second["runs"]] == [runs[2], runs[1]]
        third = await _get(served, f"/api/runs?limit=2&agent=child&cursor={second['next']}")
        assert [run["id"] for run in third["runs"]] == [runs[0]]
        assert "next" not in third


async def test_a_last_page_that_is_full_leads_nowhere(tmp_path: Path) -> None:
    async with serving(Agents().app, tmp_path, work=False) as served:
        for _ in range(2):
            await _started(served)
        answer = await served.http.get("/api/runs?limit=2")
        assert "next" not in answer.json()
        assert "link" not in answer.headers


async def test_fields(tmp_path: Path) -> None:
    async with serving(Agents().app, tmp_path, work=False) as served:
        run = await _started(served)
        assert await _get(served, f"/api/runs/{run}?fields=id,input") == {"id": run, "input": None}
        assert (await _get(served, "/api/runs?fields=state"))["runs"] == [{"state": "queued"}]
        assert (await _get(served, "/api/agents?fields=name"))["agents"][0] == {"name": "child"}
        for path in ("/api/runs?fields=input", f"/api/runs/{run}?fields=x", "/api/agents?fields="):
            answer = await served.http.get(path)
            assert (answer.status_code, answer.json()["parameter"]) == (422, "fields")


async def test_filters(tmp_path: Path) -> None:
    async with serving(Agents().app, tmp_path, work=False) as served:
        keyed = await _started(served, headers={"Idempotency-Key": "k7"})
        traced = await _started(served, headers={"traceparent": GIVEN})
        for query, run in ((f"trace_id={'a' * 32}", traced), ("idempotency_key=k7", keyed)):
            assert [r["id"] for r in (await _get(served, f"/api/runs?{query}"))["runs"]] == [run]
        for query in ("trace_id=x", "parent=x", "cursor=x", "agent=%00", "state=%00", "limit=٣"):
            assert (await served.http.get(f"/api/runs?{query}")).status_code == 422, query


# -- dead letters ---------------------------------------------------------------------------------


async def test_dead_letters(tmp_path: Path) -> None:
    agents = Agents()
    async with serving(agents.app, tmp_path) as served:
        runs = [await _started(served, "flaky") for _ in range(3)]
        for run in runs:
            assert (await _get(served, f"/api/runs/{run}?wait=20"))["state"] == "dead"
        page = await _get(served, "/api/dead-letters?limit=2&fields=id")
        assert page["dead_letters"] == [{"id": runs[2]}, {"id": runs[1]}]
        page = await _get(served, f"/api/dead-letters?limit=2&cursor={page['next']}")
        assert [one["id"] for one in page["dead_letters"]] == [runs[0]]

        dismissed = await served.http.post(f"/api/dead-letters/{runs[0]}/dismiss")
        assert dismissed.json()["dismissed_at"] is not None
        agents.broken = False
        redriven = await served.http.post(f"/api/dead-letters/{runs[1]}/redrive")
        assert redriven.status_code == 200
        assert (await _get(served, f"/api/runs/{runs[1]}?wait=20"))["result"] == "back"
        left = await _get(served, "/api/dead-letters?agent=flaky&fields=id")
        assert left == {"dead_letters": [{"id": runs[2]}]}

        again = await served.http.post(f"/api/dead-letters/{runs[1]}/redrive")
        assert (again.status_code, again.json()["code"]) == (409, "conflict")
        assert (await served.http.get("/api/dead-letters?state=dead")).status_code == 422
        # Put aside is not gone: the run's own route takes it up again.
        assert (await served.http.post(f"/api/runs/{runs[0]}/redrive")).status_code == 200
        assert (await _get(served, f"/api/runs/{runs[0]}?wait=20"))["dismissed_at"] is None


# -- traces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [None, GIVEN, "00-nonsense"])
async def test_a_trace_goes_in_and_on(given: str | None, tmp_path: Path) -> None:
    agents = Agents()
    async with serving(agents.app, tmp_path) as served:
        headers = {} if given is None else {"traceparent": given}
        answer = await served.http.post("/api/agents/parent/runs?wait=20", json={}, headers=headers)
        receipt = answer.json()
        trace = "a" * 32 if given == GIVEN else trace_id(receipt["id"], None)
        assert receipt["trace_id"] == trace
        assert agents.seen == [trace, trace]
        found = (await _get(served, f"/api/runs?trace_id={trace}"))["runs"]
        assert [run["agent"] for run in found] == ["child", "parent"]
        assert {run["trace_id"] for run in found} == {trace}
        # What the child would hand on has the trace, and the child for a parent.
        assert receipt["result"].split("-")[1] == trace
        assert receipt["result"].split("-")[2] == found[0]["id"].replace("-", "")[16:]
        lines = await served.http.get(
            f"/api/runs/{receipt['id']}/events", headers={"accept": "application/jsonl"}
        )
        assert f'"trace_id":"{trace}"' in lines.text


async def test_a_start_that_is_replayed_has_the_trace_it_began_with(tmp_path: Path) -> None:
    async with serving(Agents().app, tmp_path, work=False) as served:
        key = {"Idempotency-Key": "k"}
        run = await _started(served, headers={**key, "traceparent": GIVEN})
        again = await served.http.post("/api/agents/child/runs", json={}, headers=key)
        assert (again.json()["id"], again.json()["trace_id"]) == (run, "a" * 32)


# -- load and room --------------------------------------------------------------------------------


async def test_the_load_and_the_room(tmp_path: Path) -> None:
    async with serving(Agents().app, tmp_path, work=False, server__max_queued="2") as served:
        answers = [await served.http.post("/api/agents/child/runs", json={}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert [answer.headers["ratelimit"] for answer in answers] == [
            '"queue";r=1;t=0', '"queue";r=0;t=5', '"queue";r=0;t=5',
        ]  # fmt: skip
        assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"queue";q=2'}
        assert answers[2].headers["retry-after"] == "5"
        served.service.pressure._fresh_until = float("-inf")
        load = await _get(served, "/scale")
        assert (load["queued"], load["running"]) == (2, 0)
        assert load["queues"]["child"]["queued"] == 2
        assert load["oldest_ready_seconds"] >= 0


# -- browsers -------------------------------------------------------------------------------------

PAGE = "https://app.example.com"


async def test_pages_of_a_configured_origin_may_call(tmp_path: Path) -> None:
    async with serving(Agents().app, tmp_path, work=False, server__cors_origins=[PAGE]) as served:
        preflight = await served.http.options(
            "/api/agents/child/runs",
            headers={
                "origin": PAGE,
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization,content-type,idempotency-key",
            },
        )
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == PAGE
        assert preflight.headers["access-control-max-age"] == "600"
        answer = await served.http.post("/api/agents/child/runs", json={}, headers={"origin": PAGE})
        assert answer.status_code == 202
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "location" in answer.headers["access-control-expose-headers"].lower()
        other = await served.http.get("/api/runs", headers={"origin": "https://evil.example"})
        assert other.status_code == 403
        assert "access-control-allow-origin" not in other.headers


async def test_without_a_setting_no_page_may(tmp_path: Path) -> None:
    async with serving(Agents().app, tmp_path, work=False) as served:
        answer = await served.http.get("/api/runs", headers={"origin": PAGE})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
