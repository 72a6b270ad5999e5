"""Model calls through urllib3 are not captured and not silent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import urllib3

from perdure import gateway
from perdure.testing.redirect import redirect
from perdure.testing.simulator import ProviderSimulator
from tests.unit.gateway.boundary import MemoryRun

HOST = "api.openai.com"
BODY = b'{"model":"gpt-x","messages":[{"role":"user","content":"?"}]}'


class InStep(MemoryRun):
    """What the body of a step sees."""

    scope = b"step"


@pytest.fixture
def sim(capture: gateway.Capture) -> Iterator[ProviderSimulator]:
    with ProviderSimulator() as provider, redirect({HOST: provider.url}):
        # A pool's own host is that of the connection, so the redirection is no disguise here.
        extra = {provider.url.removeprefix("http://"): "openai"}
        capture.providers = capture.providers.adding(extra)
        yield provider


async def post(run: MemoryRun, path: str = "/v1/chat/completions", often: int = 1) -> None:
    def call() -> None:
        with urllib3.PoolManager() as manager:
            for _ in range(often):
                manager.request("POST", f"https://{HOST}{path}", body=BODY, retries=False)

    with run.running():
        await asyncio.to_thread(call)


async def test_a_model_call_of_a_run_is_warned_of_once(
    capture: gateway.Capture, sim: ProviderSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    await post(MemoryRun(), often=2)
    assert sim.counts().answered == 2
    [record] = caplog.records
    assert "'agent' called a model at 127.0.0.1 through urllib3" in record.getMessage()
    assert capture.unmetered == {"127.0.0.1": 2}


async def test_everything_else_passes_in_silence(
    capture: gateway.Capture, sim: ProviderSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    await post(InStep())
    with urllib3.PoolManager() as manager:
        await asyncio.to_thread(
            manager.request, "POST", f"https://{HOST}/v1/chat/completions", body=BODY, retries=False
        )
    assert sim.counts().answered == 2
    assert caplog.records == []
    assert capture.unmetered == {}


async def test_it_is_taken_out_with_the_patch() -> None:
    before = urllib3.HTTPConnectionPool.urlopen
    gateway.install()
    assert urllib3.HTTPConnectionPool.urlopen is not before
    gateway.uninstall()
    assert urllib3.HTTPConnectionPool.urlopen is before
