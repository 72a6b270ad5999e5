"""What a model call cost by its provider's list prices, where the package genai-prices is installed
(``perdure[prices]``) and knows the model. It is an estimate of a bill, never a guess at a price."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from functools import cache
from types import ModuleType

from perdure.gateway.usage import Usage

# Where genai-prices has another name for a provider.
NAMES = {
    "bedrock": "aws", "moonshot": "moonshotai", "vertex": "google",
    "xai": "x-ai",
}  # fmt: skip


@cache
def _library() -> ModuleType | None:
    try:
        import genai_prices
    except ImportError:
        return None
    return genai_prices


def price(name: str, used: Usage, at: datetime) -> Decimal | None:
    """US dollars for a call of ``provider/model``; None where no price is known."""
    library = _library()
    if library is None:
        return None
    provider, _, model = name.partition("/")
    try:
        found = library.calc_price(
            library.Usage(
                input_tokens=used.input,
                output_tokens=used.output,
                cache_read_tokens=used.cache_read,
                cache_write_tokens=used.cache_write,
            ),
            model_ref=model,
            provider_id=NAMES.get(provider, provider),
            genai_request_timestamp=at,
        )
    except (LookupError, ValueError):
        return None
    total: Decimal = found.total_price
    return total
