"""What the ledger knows of a run's model calls: who answered, why they were asked, what it cost.
Pure: rows of the ledger go in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from perdure.cli.terminal.amounts import dollars
from perdure.core.charge import NANO, Charge, Priced, Source
from perdure.core.words import counted
from perdure.store.costs import Entered

USELESS = (Source.FAILED, Source.VOID)
_ORDINARY = ("", "first")  # reasons that nobody wonders about


def by_effect(rows: Iterable[Entered]) -> dict[bytes, list[Entered]]:
    """The rows of each effect, by its key, the oldest first."""
    found: dict[bytes, list[Entered]] = {}
    for row in sorted(rows, key=lambda row: row.at):
        if row.charge.key and row.charge.source != Source.REPLAYED:
            found.setdefault(row.charge.key, []).append(row)
    return found


def view(row: Entered) -> dict[str, Any]:
    """A row for programs."""
    charge = row.charge
    return {
        "at": row.at.isoformat(),
        "source": str(charge.source),
        "provider": charge.provider,
        "model": charge.model,
        "key": charge.credential or None,
        "route": charge.route or None,
        "target": charge.target or None,
        "why": charge.why or None,
        "input": charge.input,
        "output": charge.output,
        "cache_read": charge.cache_read,
        "cache_write": charge.cache_write,
        "reasoning": charge.reasoning,
        "cost_usd": charge.cost / NANO,
        "saved_usd": charge.saved / NANO,
        "priced": str(charge.priced),
        "took_ms": charge.took_ms,
    }


def said(rows: Sequence[Entered], asked: str = "") -> str:
    """``via west (claude-haiku-5-5, after east: HTTP 500) $0.0012``; "" where there is nothing to
    say. ``asked``: the model that was asked for."""
    if not rows:
        return ""
    charges = [row.charge for row in rows]
    last = charges[-1]
    if last.source == Source.CACHED:
        return f"from the response cache, saved {_money(last.saved)}"
    useless = [each for each in charges if each.source in USELESS]
    words = ", ".join(_trouble(each) for each in useless)
    cost = _cost(charges)
    if last.source in USELESS:
        return f"{words} {cost}".strip()
    via = f"via {last.target}" if last.target else ""
    why = f"after {words}" if words else "" if last.why in _ORDINARY else last.why
    model = last.model if asked and last.model != asked else ""
    inside = ", ".join(part for part in (model, why) if part)
    return " ".join(part for part in (via, f"({inside})" if inside else "", cost) if part)


def told(rows: Sequence[Entered]) -> bool:
    """Whether it is worth a line: somebody chose a target, or something went otherwise."""
    return any(row.charge.target or row.charge.source in (*USELESS, Source.CACHED) for row in rows)


def total(rows: Iterable[Entered]) -> str:
    """What the run cost: ``$0.012 for 3 model calls, saved $0.004 by replay``; "" for none."""
    charges = [row.charge for row in rows]
    sent = [each for each in charges if each.source not in (Source.CACHED, Source.REPLAYED)]
    parts = []
    if sent:
        calls = sum(each.calls for each in sent)
        useless = sum(each.calls for each in sent if each.source in USELESS)
        failed = f" ({useless} of no use)" if useless else ""
        parts.append(f"{_cost(sent) or '$0'} for {counted(calls, 'model call')}{failed}")
    for source, words in ((Source.REPLAYED, "by replay"), (Source.CACHED, "by the cache")):
        if saved := sum(each.saved for each in charges if each.source == source):
            parts.append(f"saved {_money(saved)} {words}")
    return ", ".join(parts)


def _trouble(charge: Charge) -> str:
    detail = charge.why.rpartition(": ")[2]
    return f"{charge.target}: {detail}" if charge.target else detail


def _cost(charges: Iterable[Charge]) -> str:
    known = list(charges)
    cost = sum(each.cost for each in known)
    unknown = any(each.priced == Priced.UNKNOWN for each in known)
    if not cost:
        return "at an unknown price" if unknown else ""
    return _money(cost) + (" and more" if unknown else "")


def _money(nano: int) -> str:
    return dollars(Decimal(nano) / NANO)
