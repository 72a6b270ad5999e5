"""The providers' list prices, out of the data that the package genai-prices brings with it: nothing
is fetched. What is looked up here is worth remembering: a lookup takes up to a millisecond.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from functools import cache
from types import ModuleType
from typing import Any

from perdure.core.charge import NANO, Priced
from perdure.gateway.rates import Rates, Step

# Where genai-prices has another name for a provider.
NAMES = {
    "bedrock": "aws", "moonshot": "moonshotai", "vertex": "google",
    "xai": "x-ai",
}  # fmt: skip


@cache
def library() -> ModuleType:
    """genai-prices: importing its data takes a quarter of a second."""
    import genai_prices

    return genai_prices


def find(provider: str, model: str, at: float, terms: Mapping[str, str]) -> Rates | None:
    """The list's rates of ``provider``'s ``model`` at a time (seconds since 1970); None: it has
    none. ``terms`` that the list does not know make them estimates."""
    known = library()
    moment = datetime.fromtimestamp(at, UTC)
    try:
        found = known.calc_price(
            known.Usage(),
            model_ref=model,
            provider_id=NAMES.get(provider, provider),
            genai_request_timestamp=moment,
            price_context=dict(terms) or None,
        )
    except (LookupError, ValueError):
        return None
    return _rates(found.model_price, all(_knows(found, moment, t) for t in terms.items()))


def _knows(found: Any, moment: datetime, term: tuple[str, str]) -> bool:
    """Whether the list has prices for such a term. Those of a model that it found at another
    provider (Claude on Vertex) are not applied, so they count as not known."""
    if not any(found.model is model for model in found.provider.models):
        return False
    return any(
        variant.when.get(term[0]) == term[1]
        and (variant.constraint is None or variant.constraint.active(moment))
        for variant in found.model.price_variants or ()
    )


def _rates(price: Any, exact: bool) -> Rates | None:
    def said(name: str) -> Any:
        return getattr(price, name, None)

    read, write = said("cache_read_mtok"), said("cache_write_5m_mtok") or said("cache_write_mtok")
    hour, thoughts = said("cache_write_1h_mtok"), said("output_reasoning_mtok")
    plain, output = said("input_mtok"), said("output_mtok")
    if plain is None and output is None and said("requests_kcount") is None:
        return None  # sold by the hour or the picture
    tables = [t for t in (plain, output, read, write, hour, thoughts) if hasattr(t, "tiers")]
    starts = sorted({tier.start for table in tables for tier in table.tiers})
    steps = []
    for over in (-1, *starts):
        each = _nano(plain, over)
        written = each if write is None else _nano(write, over)
        answer = _nano(output, over)
        steps.append(
            Step(
                over=over,
                input=each,
                output=answer,
                cache_read=each if read is None else _nano(read, over),
                cache_write=written,
                cache_write_1h=written if hour is None else _nano(hour, over),
                reasoning=answer if thoughts is None else _nano(thoughts, over),
            )
        )
    lacks = {
        "input": plain, "cache_read": read, "cache_write": write, "cache_write_1h": hour,
        "searches": said("web_searches_kcount"),
    }  # fmt: skip
    return Rates(
        tuple(steps),
        request=_nano(said("requests_kcount"), -1) // 1000,
        search=_nano(said("web_searches_kcount"), -1) // 1000,
        priced=Priced.KNOWN if exact else Priced.ESTIMATE,
        lacks=frozenset(kind for kind, table in lacks.items() if table is None),
    )


def _nano(price: Any, over: int) -> int:
    """US dollars as nano-dollars, of the tier that prompts of more than ``over`` tokens are in."""
    if price is None:
        return 0
    if hasattr(price, "tiers"):
        found = price.base
        for tier in price.tiers:
            if tier.start <= over:
                found = tier.price
        price = found
    return int((Decimal(price) * NANO).to_integral_value(ROUND_CEILING))
