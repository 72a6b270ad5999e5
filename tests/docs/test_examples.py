"""Every example runs to its end, under a worker, with the simulator for a provider."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from perdure import gateway
from perdure.cli.target import load
from perdure.testing.redirect import redirect
from perdure.testing.simulator import ProviderSimulator, Reply, script
from tests.docs.pages import ROOT
from tests.running import Ground, ground

__all__ = ["ground"]

EXAMPLES = ROOT / "examples"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderSimulator]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "any")
    looks_up = Reply("I look.", tools=[("get_weather", {"city": "Lisbon"})])
    with (
        ProviderSimulator(script([looks_up, "Sunny."])) as simulator,
        redirect({"api.anthropic.com": simulator.url}),
    ):
        gateway.install()
        yield simulator
        gateway.uninstall()


async def start(ground: Ground, example: str, agent: str, value: Any) -> str:
    target = f"{EXAMPLES / example}.py"
    await ground.begin(
        load(target if agent in ("digest", "review", "support") else f"{target}:{agent}")
    )
    return await ground.start(agent, value)


async def test_trip(ground: Ground) -> None:
    run = await start(ground, "trip", "plan", "Lisbon")
    assert await ground.result(run) == "booked a room in Lisbon; the sky is clear"


async def test_approval(ground: Ground) -> None:
    run = await start(ground, "approval", "refund", "A1")
    await ground.until(run, "waiting")
    await ground.store.signal(run, "approved", orjson.dumps({"by": "ada"}))
    assert await ground.result(run) == "refunded A1, approved by ada"


async def test_approval_that_nobody_gives(ground: Ground) -> None:
    run = await start(ground, "approval", "refund", "A2")
    await ground.until(run, "waiting")
    ground.store.shift_clock(timedelta(days=1))
    await ground.store.wake_due(100)
    assert await ground.result(run) == "A2: nobody approved"


async def test_assistant(ground: Ground, provider: ProviderSimulator) -> None:
    run = await start(ground, "assistant", "agent", "How is the weather in Lisbon?")
    result = await ground.result(run)
    assert [message["type"] for message in result["messages"]] == ["human", "ai", "tool", "ai"]
    assert result["messages"][2]["content"] == "It's always sunny in Lisbon!"
    assert provider.counts().answered == 2


async def test_forecaster(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    looks_up = Reply("I look.", tools=[("get_weather", {"location": "Lisbon"})])
    with (
        ProviderSimulator(script([looks_up, "Cloudy."])) as simulator,
        redirect({"api.openai.com": simulator.url}),
    ):
        gateway.install()
        run = await start(ground, "forecaster", "agent", "How is the weather in Lisbon?")
        result = await ground.result(run)
        gateway.uninstall()
    assert result["messages"][-1]["contents"][0]["text"] == "Cloudy."
    assert simulator.counts().answered == 2


async def test_support(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "any")
    advice = {"advice": "We blocked it.", "risk": 8}
    replies = [
        Reply(tools=[("balance", {}), ("block_card", {"reason": "lost"})]),
        Reply(tools=[("final_result", advice)]),
    ]
    with (
        ProviderSimulator(script(replies)) as simulator,
        redirect({"api.anthropic.com": simulator.url}),
    ):
        gateway.install()
        given = {"user_prompt": "I lost my card!", "deps": 123}
        run = await start(ground, "support", "support", given)
        await ground.until(run, "waiting")
        await ground.store.signal(run, "resume", orjson.dumps(True))
        assert await ground.result(run) == advice
        gateway.uninstall()
    assert simulator.counts().answered == 2


async def test_haiku(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")
    looks_up = Reply("I look.", tools=[("get_weather", {"city": "Lisbon"})])
    with (
        ProviderSimulator(script([looks_up, "Sun on old white walls"])) as simulator,
        redirect({"api.openai.com": simulator.url}),
    ):
        gateway.install()
        run = await start(ground, "haiku", "agent", "How is the weather in Lisbon?")
        assert await ground.result(run) == "Sun on old white walls"
        gateway.uninstall()
    assert simulator.counts().answered == 2


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")
async def test_city_guide(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "any")
    pytest.importorskip("aiohttp")  # google-genai prefers it; redirected once it is imported
    looks_up = Reply("I look.", tools=[("get_weather", {"city": "New York"})])
    gateway.install()
    with (
        ProviderSimulator(script([looks_up, "Sunny."])) as simulator,
        redirect({"generativelanguage.googleapis.com": simulator.url}),
    ):
        run = await start(ground, "city_guide", "root_agent", "How is the weather in New York?")
        result = await ground.result(run)
    gateway.uninstall()
    assert result["output"] == "Sunny."
    assert simulator.counts().answered == 2


async def test_digest(ground: Ground) -> None:
    run = await start(ground, "digest", "digest", {"topics": ["tides", "moons"], "rounds": 2})
    await ground.recorded(run, "look", 2)
    await ground.until(run, "waiting")
    ground.store.shift_clock(timedelta(days=3))
    await ground.store.wake_due(100)
    assert await ground.result(run) == ["tides: nothing new", "moons: nothing new"] * 2


@pytest.mark.parametrize(("verdict", "receipt"), [("send", "sent: Dear"), ("no", None)])
async def test_review(ground: Ground, verdict: str, receipt: str | None) -> None:
    run = await start(ground, "review", "review", {"text": "Dear"})
    await ground.until(run, "waiting")
    await ground.store.signal(run, "resume", orjson.dumps(verdict))
    assert (await ground.result(run)).get("receipt") == receipt


async def test_fastapi_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In FastAPI, behind its login; an order is one run, and goes on after a restart."""
    monkeypatch.setenv("PERDURE_STORE", f"sqlite:///{tmp_path}/runs.db")
    example = runpy.run_path(f"{EXAMPLES}/fastapi_app.py")
    api = example["api"]
    me = {"x-token": "let-me-in"}
    transport = httpx2.ASGITransport(api)
    async with httpx2.AsyncClient(transport=transport, base_url="https://shop.example") as http:
        async with api.router.lifespan_context(api):
            run = (await http.post("/orders/7", json=["tea", "milk"])).json()["run"]
            assert (await http.post("/orders/7", json=["tea", "milk"])).json()["run"] == run
            path = f"/agents/api/runs/{run}"
            assert (await http.get(path)).status_code == 401
            assert (await http.get(path, headers=me)).json()["agent"] == "ship"
        async with api.router.lifespan_context(api):
            truck = {"number": "LX-1"}
            await http.post(f"{path}/signals/truck", json=truck, headers=me)
            done = (await http.get(f"{path}?wait=20", headers=me)).json()
    assert done["result"] == "2 on LX-1"


def test_none_is_forgotten() -> None:
    tested = {name.removeprefix("test_").partition("_")[0] for name in globals()}
    assert {path.stem.partition("_")[0] for path in EXAMPLES.glob("*.py")} <= tested
