"""What a model call cost by its provider's list prices, for the pictures of a run. It is an
estimate of a bill, never a guess at a price; the ledger has what the settings say as well."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from functools import cache

from perdure.core.charge import NANO, Priced
from perdure.gateway.pricing import Pricing
from perdure.gateway.usage import Usage


@cache
def _lists() -> Pricing:
    return Pricing()


def price(name: str, used: Usage, at: datetime) -> Decimal | None:
    """US dollars for a call of ``provider/model``; None where no price is known."""
    provider, _, model = name.partition("/")
    found = _lists().price(provider, model, used, at.timestamp())
    return None if found.priced is Priced.UNKNOWN else Decimal(found.cost) / NANO
