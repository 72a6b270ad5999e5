from __future__ import annotations

import pytest

from perdure.errors import TooLarge
from perdure.server.proxy import headers


def test_many_are_too_many() -> None:
    raw = [(b"x-%d" % n, b"1") for n in range(3)]
    assert headers.read(raw, 3) == {"x-0": "1", "x-1": "1", "x-2": "1"}
    with pytest.raises(TooLarge, match="3 headers"):
        headers.read(raw, 2)


def test_what_goes_to_the_provider() -> None:
    given = {
        "anthropic-version": "2023-06-01", "anthropic-beta": "a", "user-agent": "x",
        "content-type": "application/json", "x-stainless-retry-count": "0",
        "authorization": "Bearer pk_1", "x-api-key": "pk_1", "openai-project": "p",
        "connection": "close, X-Own", "x-own": "1", "keep-alive": "5", "host": "127.0.0.1",
        "content-length": "3", "accept-encoding": "br", "perdure-run": "r", "cookie": "c",
        "x-forwarded-for": "1.1.1.1", "sec-fetch-mode": "cors", "origin": "http://localhost",
    }  # fmt: skip
    kept = {
        "anthropic-version": "2023-06-01", "anthropic-beta": "a", "user-agent": "x",
        "content-type": "application/json", "x-stainless-retry-count": "0",
        "accept-encoding": "gzip, deflate",
    }  # fmt: skip
    credential = ("x-api-key", "sk-real")
    assert headers.upstream(given, credential, own=True) == {**kept, "x-api-key": "sk-real"}
    assert headers.upstream(given, credential, own=False) == {**kept, "x-api-key": "sk-real"}
    assert headers.upstream(given, None, own=False) == kept
    own = headers.upstream(given, None, own=True)
    assert own["authorization"] == "Bearer pk_1"
    assert own["openai-project"] == "p"
