"""aiohttp is not captured, so a model call of a run must not go through it unnoticed (T2)."""

from __future__ import annotations

import aiohttp
import pytest

from perdure import gateway
from perdure.errors import BoundaryError
from perdure.gateway.probe import prove
from tests.unit.gateway.boundary import MemoryRun
from tests.unit.gateway.server import CountingServer


@pytest.fixture
def anywhere(capture: gateway.Capture) -> None:
    capture.providers = capture.providers.adding({"127.0.0.1": "google"})


PATH = "/v1beta/models/gemini-3:generateContent"


@pytest.mark.usefixtures("anywhere")
async def test_a_model_call_of_a_run_fails_with_a_hint() -> None:
    async with CountingServer() as server, aiohttp.ClientSession(server.url) as session:
        with MemoryRun().running(), pytest.raises(BoundaryError, match="aiohttp") as raised:
            await session.post(PATH, json={})
        assert "google-genai" in str(raised.value.hint)
        assert server.requests == []


@pytest.mark.usefixtures("anywhere")
async def test_everything_else_passes() -> None:
    async with CountingServer() as server, aiohttp.ClientSession() as session:
        with MemoryRun().running():
            async with session.post(server.url + "/other", json={}) as answer:
                assert answer.status == 200
            async with session.get(server.url + PATH) as answer:
                assert answer.status == 200
        async with session.post(server.url + PATH, json={}) as answer:
            assert answer.status == 200
        assert len(server.requests) == 3


@pytest.mark.usefixtures("anywhere")
async def test_outside_runs_it_is_a_stray(capture: gateway.Capture) -> None:
    hosts = []

    class Strays:
        def stray(self, host: str) -> None:
            hosts.append(host)

    capture.strays = Strays()
    async with CountingServer() as server, aiohttp.ClientSession() as session:
        answer = await session.post(server.url + PATH, json={})
        assert answer.status == 200
        await answer.read()
    assert hosts == ["127.0.0.1"]


async def test_it_is_taken_out_with_the_patch() -> None:
    before = aiohttp.ClientSession._request
    gateway.install()
    assert aiohttp.ClientSession._request is not before
    gateway.uninstall()
    assert aiohttp.ClientSession._request is before


async def test_the_probe_puts_it_under_an_aiohttp_that_came_late(
    capture: gateway.Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    gateway.uninstall()
    with monkeypatch.context() as context:
        context.delitem(sys.modules, "aiohttp")
        gateway.install(capture)
    before = aiohttp.ClientSession._request
    assert not hasattr(before, "__wrapped__")
    await prove()
    assert aiohttp.ClientSession._request.__wrapped__ is before  # type: ignore[attr-defined]
