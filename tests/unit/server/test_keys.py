"""API keys: form, hash, life."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perdure.errors import InvalidInput
from perdure.server.keys import ADMIN, READ, WRITE, covers, fits, generate, split, usable

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_key_is_kept_without_its_secret() -> None:
    token, key = generate("ci", [READ], now=NOW)
    parts = split(token)
    assert parts is not None
    assert parts[0] == key.id
    assert len(parts[1]) >= 43  # 256 bits in base64
    assert fits(key, parts[1])
    assert parts[1].encode() not in key.hash
    assert len(key.hash) == 32
    assert not fits(key, parts[1][:-1])
    assert not fits(key, "")


def test_no_two_keys_are_alike() -> None:
    assert len({generate("x", [READ], now=NOW)[0] for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "token", ["", "pk", "pk_", "pk_id", "pk_id_", "sk_id_secret", "pk__secret"]
)
def test_what_has_not_the_form_of_a_key(token: str) -> None:
    assert split(token) is None


def test_a_secret_may_hold_the_separator() -> None:
    assert split("pk_id_a_b-c_") == ("id", "a_b-c_")


def test_keys_end() -> None:
    _, key = generate("x", [READ], now=NOW, lifetime=timedelta(hours=1))
    assert usable(key, NOW + timedelta(minutes=59))
    assert not usable(key, NOW + timedelta(hours=1))


def test_scopes() -> None:
    assert covers([READ], READ)
    assert not covers([READ], WRITE)
    assert not covers([], READ)
    assert covers([ADMIN], WRITE)
    for scopes in ([], ["runs:everything"], [READ, "x"]):
        with pytest.raises(InvalidInput):
            generate("x", scopes, now=NOW)
