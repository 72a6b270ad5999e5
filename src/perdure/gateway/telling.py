"""A line of the log for each contact with a provider, with what the ledger says of it as fields:
those that were of no use at level info, the others at debug."""

from __future__ import annotations

import logging
from typing import Any

from perdure.core.charge import NANO, Charge, Source

log = logging.getLogger("perdure.calls")
FIELDS = (
    "provider", "model", "credential", "route", "target", "why", "step", "feature", "tenant",
    "session",
)  # fmt: skip
COUNTS = ("input", "output", "cache_read", "cache_write", "reasoning", "took_ms")


def tell(charge: Charge) -> None:
    """Log it, if anyone wants to know."""
    level = logging.INFO if charge.source in (Source.FAILED, Source.VOID) else logging.DEBUG
    if not log.isEnabledFor(level):
        return
    via = f" via {charge.target}" if charge.target else ""
    log.log(
        level, "%s/%s%s: %s in %d ms", charge.provider, charge.model, via, charge.source,
        charge.took_ms, extra=fields(charge),
    )  # fmt: skip


def fields(charge: Charge) -> dict[str, Any]:
    """What is said of it; texts that are empty are left out."""
    said: dict[str, Any] = {
        name: value for name in FIELDS if (value := getattr(charge, name))
    }  # fmt: skip
    said |= {name: getattr(charge, name) for name in COUNTS}
    said |= {"source": str(charge.source), "cost_usd": charge.cost / NANO}
    if charge.run_id:
        said |= {"run_id": charge.run_id, "agent": charge.agent}
    if charge.key:
        said |= {"effect": charge.key.hex(), "effect_kind": "model"}
    return said
