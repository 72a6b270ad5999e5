"""Binding."""

from __future__ import annotations

import pytest

from perdure.config import ServerConfig
from perdure.errors import ConfigError, PortInUse
from perdure.server.serve import Address, bind


def test_a_free_port_is_chosen() -> None:
    with bind(ServerConfig(port=0)) as sock:
        assert sock.getsockname()[1] > 0


def test_a_port_in_use_is_said_to_be() -> None:
    with bind(ServerConfig(port=0)) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(PortInUse, match=str(port)):
            bind(ServerConfig(port=port))


@pytest.mark.parametrize(
    "server",
    [ServerConfig(port=70000), ServerConfig(host="no such host"), ServerConfig(host="192.0.2.1")],
)
def test_addresses_that_cannot_be(server: ServerConfig) -> None:
    with pytest.raises(ConfigError):
        bind(server)


def test_urls() -> None:
    assert Address("127.0.0.1", 80).url == "http://127.0.0.1:80"
    assert Address("::1", 80).url == "http://[::1]:80"
    assert Address("0.0.0.0", 80).url == "http://127.0.0.1:80"
    assert Address("example.com", 80).url == "http://example.com:80"
