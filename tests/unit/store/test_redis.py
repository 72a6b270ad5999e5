"""Who keeps documents in Redis, without a server."""

from __future__ import annotations

import sys

import pytest

from perdure.errors import ConfigError, MissingExtra
from perdure.store import make_redis


def test_without_the_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "perdure.store.redis", raising=False)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(MissingExtra) as missing:
        make_redis("redis://localhost")
    assert "perdure[redis]" in (missing.value.hint or "")


def test_an_address_is_shown_without_its_secrets() -> None:
    assert make_redis("rediss://u:p@host:6380/2?ssl_cert_reqs=none").url == "rediss://host:6380/2"
    with pytest.raises(ConfigError):
        make_redis("host:6379")
