from __future__ import annotations

import asyncio
from typing import Any

import httpcore
import httpcore2
import httpx
import httpx2
import pytest

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


def test_it_is_undone() -> None:
    before = (httpcore2.ConnectionPool.handle_request, httpcore.ConnectionPool.handle_request)
    with redirect({"api.anthropic.com": "http://127.0.0.1:1"}):
        assert httpcore2.ConnectionPool.handle_request is not before[0]
    after = (httpcore2.ConnectionPool.handle_request, httpcore.ConnectionPool.handle_request)
    assert after == before


@pytest.mark.parametrize("url", ["127.0.0.1:80", "ftp://x", "http://x/path", "http://"])
def test_it_needs_an_origin(url: str) -> None:
    with pytest.raises(ConfigError, match="redirect"), redirect({"a": url}):
        pass
