"""Times and durations in few characters."""

from __future__ import annotations

from datetime import datetime, timedelta


def short(duration: timedelta) -> str:
    """``3 ms``, ``1.24 s``, ``2m 05s``, ``3h 20m``, ``4d 2h``."""
    seconds = duration.total_seconds()
    if seconds < 0:
        return "0 ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h {minutes:02d}m"
    return f"{hours // 24}d {hours % 24}h"


def short_seconds(seconds: float) -> str:
    """The same of a number of seconds."""
    return short(timedelta(seconds=seconds))


def age(at: datetime, now: datetime) -> str:
    """``5s``, ``12m``, ``3h``, ``4d``: in one unit."""
    seconds = max((now - at).total_seconds(), 0)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds:.0f}s"


def stamp(at: datetime) -> str:
    """A time of the store's clock for people, in their own time zone."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
