from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import httpcore
import httpcore2
import httpx
import httpx2
import pytest
import urllib3

from perdure.errors import ConfigError
from perdure.testing.redirect import redirect
from perdure.testing.simulator import ProviderSimulator

URL = "https://api.anthropic.com/v1/models"


def test_every_client_arrives_with_the_official_host() -> None:
    with ProviderSimulator() as sim, redirect({"api.anthropic.com": sim.url}):
        with httpx.Client() as one, httpx2.Client() as two:
            responses: list[Any] = [one.get(URL), two.get(URL)]

        async def more() -> None:
            async with httpx.AsyncClient() as three, httpx2.AsyncClient() as four:
                responses.extend([await three.get(URL), await four.get(URL)])

        asyncio.run(more())
    assert [response.status_code for response in responses] == [200] * 4
    assert {response.request.headers["host"] for response in responses} == {"api.anthropic.com"}


def test_other_hosts_are_left_alone_and_the_innermost_counts() -> None:
    nowhere = "http://127.0.0.1:1"
    with ProviderSimulator() as sim, redirect({"api.anthropic.com": nowhere}):
        with redirect({"api.anthropic.com": sim.url}), httpx2.Client() as client:
            assert client.get(URL).status_code == 200
            assert client.get(sim.url + "/v1/models").status_code == 200
        with httpx2.Client() as client, pytest.raises(httpx2.ConnectError):
            client.get(URL)


def test_aiohttp_and_urllib3_arrive_too() -> None:
    async def ask() -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(URL) as answer:
            return answer.status, str(answer.url)

    with ProviderSimulator() as sim, redirect({"api.anthropic.com": sim.url}):
        assert asyncio.run(ask()) == (200, URL)
        with urllib3.PoolManager() as manager:
            assert manager.request("GET", URL, retries=False).status == 200
            elsewhere = sim.url + "/v1/models"
            assert manager.request("GET", elsewhere, retries=False).status == 200


def _methods() -> tuple[Any, ...]:
    return (
        httpcore2.ConnectionPool.handle_request, httpcore.ConnectionPool.handle_request,
        aiohttp.BaseConnector.connect, urllib3.PoolManager.connection_from_host,
    )  # fmt: skip


def test_it_is_undone() -> None:
    before = _methods()
    with redirect({"api.anthropic.com": "http://127.0.0.1:1"}):
        assert not set(_methods()) & set(before)
    assert _methods() == before


@pytest.mark.parametrize("url", ["127.0.0.1:80", "ftp://x", "http://x/path", "http://"])
def test_it_needs_an_origin(url: str) -> None:
    with pytest.raises(ConfigError, match="redirect"), redirect({"a": url}):
        pass
