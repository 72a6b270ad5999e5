"""How full the limits are, as people see it: the pools' documents, the command, the API."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest

from perdure.app import App
from perdure.cli.main import main
from perdure.cli.terminal.gauges import rows
from perdure.client import AsyncClient
from perdure.core.shared import Swap
from perdure.gateway.standing import PoolStanding, Standing, standing
from perdure.observe.metrics import from_counters, from_spreads, render
from perdure.runtime.worker import Worker
from perdure.server.asgi import make_app
from perdure.server.service import Service
from perdure.store import make_store
from perdure.testing.simulator import ProviderSimulator, Reply, script
from tests.integration.gateway.conftest import Begin
from tests.running import Ground

LIMITS = """
[[limits]]
provider = "anthropic"
rpm = 2
otpm = 10_000
concurrent = 5
{more}
[gateway]
patience = "100ms"
"""


async def ask(n: int) -> None:
    messages: Any = [{"role": "user", "content": f"Say {n}."}]
    client = anthropic.AsyncAnthropic()
    await client.messages.create(model="claude-sonnet-5-5", max_tokens=50, messages=messages)


async def used(ground: Ground, begin: Begin, more: str = "") -> Worker:
    app = App()
    app.add(ask)
    with ProviderSimulator(script([Reply("Fine.")])) as sim:
        end = await begin(app, sim, LIMITS.format(more=more))
        for n in range(2):
            await ground.result(await ground.start("ask", n))
        await ground.until(await ground.start("ask", 2), "waiting")
        [worker] = ground.workers
        await end()
    return worker


def only(found: Standing) -> PoolStanding:
    [pool] = found.pools
    return pool


async def test_meters_are_told_with_what_is_used_and_when_there_is_room(
    ground: Ground, begin: Begin, settings: Any
) -> None:
    await used(ground, begin)
    found = await standing(ground.store, settings(LIMITS.format(more="")).limits)
    pool = only(found)
    assert (pool.named.provider, pool.named.name) == ("anthropic", "claude-sonnet-5-5")
    requests, output, places = pool.meters
    assert (requests.what, requests.amount, requests.used) == ("requests", 2, 2)
    assert requests.believed == 1.0
    assert requests.next_at is not None
    assert 50 < requests.next_at - found.now < 65
    assert output.used > 0
    assert places.used == 0
    assert places.next_at == pytest.approx(found.now, abs=0.01)
    assert pool.next_at == pytest.approx(requests.next_at, abs=0.01)
    cells, full = rows(found)[0]
    assert cells[:4] == ("anthropic/claude-sonnet-5-5", "requests/minute", "2", "2")
    assert (cells[-1][:3], full) == ("in ", 1.0)


async def test_limits_that_the_settings_no_longer_have_are_told_as_such(
    ground: Ground, begin: Begin
) -> None:
    await used(ground, begin)
    pool = only(await standing(ground.store, ()))
    assert not pool.declared
    assert {(meter.what, meter.amount) for meter in pool.meters} == {
        ("requests", None), ("output", None),
    }  # fmt: skip
    assert [meter.used for meter in pool.meters if meter.what == "requests"] == [2]


async def test_waits_are_counted(ground: Ground, begin: Begin) -> None:
    worker = await used(ground, begin)
    text = render(from_spreads(worker.runtime.spreads) + from_counters(worker.runtime.counters))
    assert 'perdure_limit_wait_seconds_count{provider="anthropic"} 3' in text
    assert 'perdure_limit_parked_total{provider="anthropic"} 1' in text


async def test_a_pool_that_models_share_is_found_by_its_name(
    ground: Ground, begin: Begin, settings: Any
) -> None:
    more = 'pool = "all of them"'
    await used(ground, begin, more)
    pool = only(await standing(ground.store, settings(LIMITS.format(more=more)).limits))
    assert (pool.named.shared, pool.named.name, pool.declared) == (True, "all of them", True)
    assert pool.view()["shared_by"] == "all of them"


async def test_a_document_that_cannot_be_read_hides_no_other(
    ground: Ground, begin: Begin, settings: Any
) -> None:
    await used(ground, begin)
    broken = "limits/anthropic/model/broken/*"
    assert (await ground.store.swap((), [Swap(broken, 0, b"[]")])).done
    found = await standing(ground.store, settings(LIMITS.format(more="")).limits)
    problems = {pool.key: pool.problem for pool in found.pools}
    assert len(problems) == 2
    assert "cannot be read" in (problems.pop(broken) or "")
    assert set(problems.values()) == {None}


async def test_the_api_and_its_client_tell_the_same(
    ground: Ground, begin: Begin, settings: Any
) -> None:
    await used(ground, begin)
    service = Service({}, settings(LIMITS.format(more="")), ground.store, None)
    transport = httpx2.ASGITransport(make_app(service))
    async with AsyncClient("http://127.0.0.1:8080", transport=transport) as client:
        found = await client.limits()
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        metrics = (await http.get("/metrics")).text
    labels = 'pool="anthropic/model/claude-sonnet-5-5/*",what="requests",window_s="60"'
    assert f"perdure_limit_used{{{labels}}} 2" in metrics
    assert f"perdure_limit_amount{{{labels}}} 2" in metrics
    [pool] = found["pools"]
    assert pool["limits"][0]["used"] == 2
    assert pool["declared"] is True


def test_the_command_prints_them_once_into_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    async def prepare() -> None:
        store = make_store("sqlite:///perdure.db")
        await store.open(check=False)
        await store.upgrade()
        await store.close()

    asyncio.run(prepare())
    (tmp_path / "perdure.toml").write_text('[store]\nurl = "sqlite:///perdure.db"\n')
    assert main(["limits"]) == 0
    assert "No [[limits]] are declared" in capsys.readouterr().err
    assert main(["limits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pools"] == []
