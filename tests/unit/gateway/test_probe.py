from __future__ import annotations

from typing import Any

import aiohttp
import botocore
import botocore.endpoint
import botocore.httpsession
import httpx
import httpx2
import pytest

from perdure import gateway
from perdure.errors import ConfigError
from perdure.gateway.probe import CaptureBroken, prove


async def test_capture_is_proved_for_every_library(capture: gateway.Capture) -> None:
    before = capture.providers
    assert await prove() == ["httpx2", "httpx", "aiohttp", "botocore"]
    assert capture.providers is before
    assert capture.unmetered == {}


async def test_without_capture_there_is_nothing_to_prove() -> None:
    with pytest.raises(ConfigError, match="no capture"):
        await prove()


@pytest.mark.parametrize(
    ("library", "cls", "method", "name"),
    [
        (httpx2, "AsyncHTTPTransport", "handle_async_request", "httpx2.AsyncClient"),
        (httpx2, "HTTPTransport", "handle_request", "httpx2.Client"),
        (httpx, "AsyncHTTPTransport", "handle_async_request", "httpx.AsyncClient"),
        (httpx, "HTTPTransport", "handle_request", "httpx.Client"),
        (aiohttp, "ClientSession", "_request", "aiohttp.ClientSession"),
        (botocore, "URLLib3Session", "send", "botocore's URLLib3Session"),
    ],
)
async def test_a_patch_that_does_not_hold_is_named(
    library: Any,
    cls: str,
    method: str,
    name: str,
    capture: gateway.Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = getattr(library, cls, None) or getattr(library.httpsession, cls)
    monkeypatch.setattr(owner, method, getattr(owner, method).__wrapped__)
    with pytest.raises(CaptureBroken, match=rf"{name} was not seen.* {library.__version__}"):
        await prove()


async def test_a_call_that_does_not_come_back_is_named(
    capture: gateway.Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = httpx2.AsyncHTTPTransport.handle_async_request

    async def twice(self: Any, request: httpx2.Request) -> httpx2.Response:
        await original(self, request)
        return await original(self, request)

    monkeypatch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", twice)
    with pytest.raises(CaptureBroken, match="was recorded as"):
        await prove()
