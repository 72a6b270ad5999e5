"""List prices: known where the library knows them, and never guessed."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from perdure.cli import prices
from perdure.gateway.usage import Usage

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def test_a_known_model_has_its_list_price() -> None:
    # 1000 tokens at $2 and 100 at $10 for a million.
    found = prices.price("anthropic/claude-sonnet-5-5", Usage(1000, 100), NOW)
    assert found == Decimal("0.003")
    cheaper = prices.price("anthropic/claude-sonnet-5-5", Usage(1000, 100, cache_read=900), NOW)
    assert cheaper is not None
    assert cheaper < Decimal("0.003")


@pytest.mark.parametrize("name", ["anthropic/no-such-model", "nobody/claude", "odd", ""])
def test_an_unknown_model_has_none(name: str) -> None:
    assert prices.price(name, Usage(1, 1), NOW) is None
