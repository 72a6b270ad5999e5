"""Hours, days and months, all in UTC, as budgets have them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

PERIODS = ("hour", "day", "month")
_FORMS = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}


def period(every: str, now: float) -> str:
    """The name of the period that ``now`` (seconds since 1970) is in: ``2026-11-21T13``,
    ``2026-11-21``, ``2026-11``. Nothing for what has no period."""
    return datetime.fromtimestamp(now, UTC).strftime(_FORMS[every]) if every else ""


def ends(every: str, now: float) -> float | None:
    """When the period that ``now`` is in is over; None: never."""
    if not every:
        return None
    start = datetime.strptime(period(every, now), _FORMS[every]).replace(tzinfo=UTC)
    return _next(every, start).timestamp()


def over(name: str, now: float) -> bool:
    """Whether the period of that name has ended by ``now``. What is no period's name has not."""
    for every, form in _FORMS.items():
        try:
            start = datetime.strptime(name, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        if start.strftime(form) == name:
            return now >= _next(every, start).timestamp()
    return False


def _next(every: str, start: datetime) -> datetime:
    if every == "month":
        return (start.replace(day=1) + timedelta(days=32)).replace(day=1)
    return start + (timedelta(days=1) if every == "day" else timedelta(hours=1))
