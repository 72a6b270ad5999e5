"""What a call's way enters into the ledger: one row for each contact with a provider, and for what
was spared."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING, Any

from perdure.core.charge import Charge, Priced, Source
from perdure.gateway.trip import Ended
from perdure.gateway.usage import Usage

if TYPE_CHECKING:
    from perdure.gateway.journey import Journey

BYTES_A_TOKEN = 4  # of what a stream had said when it broke: how providers count English, roughly
LONGEST_WHY = 200


def ended(
    journey: Journey, ended: Ended, used: Usage | None, terms: Mapping[str, str]
) -> tuple[Charge, int | None]:
    """The row of a try that is over, and its cost where that is known."""
    price = None
    if used is not None:
        now = journey.gate.time()
        price = journey.gate.pricing.price(journey.provider, journey.model, used, now, terms)
    source = Source.SENT
    if ended.severity is not None:
        source = Source.VOID if ended.void else Source.FAILED
    free = source is Source.FAILED and used is None
    priced = price.priced if price else (Priced.FREE if free else Priced.UNKNOWN)
    known = price is not None and price.priced is not Priced.UNKNOWN
    if ended.void and known:
        priced = Priced.ESTIMATE
    why = journey.chosen.why if journey.chosen else ""
    if ended.severity is not None and ended.what:
        why = f"{why}: {ended.what}" if why else ended.what
    row = _row(
        journey, source=source, used=used, cost=price.cost if price else 0,
        saved=price.saved if price else 0, priced=priced, why=why[:LONGEST_WHY],
        took_ms=int(ended.took * 1000),
    )  # fmt: skip
    return row, price.cost if price is not None and known and not ended.void else None


def void(journey: Journey, used: Usage | None, said: int) -> Usage:
    """What a stream that broke took, as far as can be told: it had said ``said`` bytes, and its
    last word about its own usage may be its first."""
    told = used or Usage(journey.gate.prompt_tokens(journey), 0)
    return told._replace(output=max(told.output, ceil(said / BYTES_A_TOKEN)))


def recalled(journey: Journey, used: Usage | None, terms: Mapping[str, str]) -> Charge:
    """The row of an answer from the cache."""
    saved = 0
    if used is not None:
        now = journey.gate.time()
        prices = journey.gate.pricing
        saved = prices.price(journey.provider, journey.model, used, now, terms).cost
    return _row(
        journey, source=Source.CACHED, used=used, saved=saved, priced=Priced.FREE,
        why="answered before",
    )  # fmt: skip


def given_up(journey: Journey, reserved: int) -> Charge:
    """The row of a call that nobody waits for any more, and of which nobody knows what it cost."""
    return _row(
        journey, source=Source.VOID, used=None, why="the agent turned away, or its attempt ended",
        cost=reserved, priced=Priced.ESTIMATE if reserved else Priced.UNKNOWN,
    )  # fmt: skip


def _row(journey: Journey, *, source: Source, used: Usage | None, **more: Any) -> Charge:
    about, chosen = journey.about, journey.chosen
    took = used or Usage(0, 0)
    return Charge(
        journey.gate.charge_id(),
        about.agent,
        journey.provider,
        journey.model,
        source,
        run_id=about.run_id,
        key=journey.ticket.key or None,
        step=about.step,
        feature=about.feature,
        tenant=about.tenant,
        session=about.session,
        credential=journey.credential,
        target=chosen.target.name if chosen else "",
        route=chosen.route.name if chosen else "",
        input=took.input,
        output=took.output,
        cache_read=took.cache_read,
        cache_write=took.cache_write,
        reasoning=took.reasoning,
        **more,
    )
