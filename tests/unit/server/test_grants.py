from __future__ import annotations

import pytest

from perdure.core.budget import Budget, Nano
from perdure.errors import InvalidInput
from perdure.server import keys
from perdure.server.grants import Grant, amount


def test_scopes_say_all_of_it() -> None:
    whole = Grant(("gpt-*", "claude-opus-5"), "acme", "reports", Nano(5_250_000_000), "day", "id")
    assert Grant.read(whole.scopes(), "id") == whole
    assert Grant.read(("gateway", "runs:read"), "id") == Grant(key="id")
    assert whole.scopes()[0] == "gateway"
    assert "gateway budget=5.25/day" in whole.scopes()


def test_models() -> None:
    grant = Grant(("gpt-*", "o3"))
    assert grant.allows("gpt-5")
    assert grant.allows("o3")
    assert not grant.allows("o3-mini")
    assert not grant.allows("")
    assert Grant().allows("anything")


def test_its_budget_is_its_own_and_hard() -> None:
    assert Grant().budget is None
    budget = Grant(usd=Nano(7), every="hour", key="abc").budget
    assert budget == Budget(name="key:abc", usd=Nano(7), every="hour", hard=True)


def test_amounts() -> None:
    assert amount("5") == (5_000_000_000, "")
    assert amount("0.25/month") == (250_000_000, "month")
    for wrong in ("", "x", "5/week", "-1/day", "0", "0/day", "1/day/day"):
        with pytest.raises(InvalidInput):
            amount(wrong)


@pytest.mark.parametrize(
    "scopes",
    [
        ("gateway colour=red",),
        ("gateway model",),
        ("gateway model=",),
        ("gateway tenant=a", "gateway tenant=b"),
        ("gateway budget=x",),
    ],
)
def test_what_cannot_be_meant(scopes: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput):
        Grant.read(scopes, "")


def test_words_open_no_more_than_their_scope() -> None:
    scopes = Grant(("gpt-*",)).scopes()
    assert keys.covers(scopes, "gateway")
    assert not keys.covers(scopes, keys.READ)
    assert keys.covers((keys.ADMIN,), "gateway")
    assert not keys.covers((keys.READ, keys.WRITE), "gateway")
