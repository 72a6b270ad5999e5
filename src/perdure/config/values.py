"""Values as people write them: durations, money, lists, yes and no; and how they are shown.

Every reader raises ValueError that says what to write instead. None of them repeats the value: the
caller does, unless it could be a secret.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NewType, get_args, get_origin

from perdure.core.budget import Nano
from perdure.core.charge import NANO

NEVER = ("", "none", "off")  # words for no duration, no limit
SECRET = re.compile(r"(://[^:/@\s]*:)[^@/\s]+@")

Rate = NewType("Rate", int)  # nano-dollars for a million tokens
Share = NewType("Share", float)  # of a minute's quota


def duration(text: str | float | timedelta) -> timedelta:
    """``30``, ``"30s"``, ``"500ms"``, ``"5m"``, ``"2h"``, ``"1d"``. Raises ValueError."""
    if isinstance(text, timedelta):
        return text
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*", str(text))
    if match is None:
        raise ValueError(f"{text!r} is no duration; examples: 30, 500ms, 30s, 5m, 2h, 1d")
    unit = {"ms": 0.001, None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    return timedelta(seconds=float(match[1]) * unit)


def money(value: Any) -> int:
    """US dollars (``25``, ``"0.25"``, ``"$1_000"``) in whole nano-dollars. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError('say US dollars, such as 25 or "0.25"')
    text = str(value).strip().removeprefix("$").removesuffix("USD").strip()
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError('say US dollars, such as 25 or "0.25"') from None
    if not amount.is_finite() or amount < 0:
        raise ValueError("it cannot be negative or endless")
    nano = amount * NANO
    if nano != nano.to_integral_value():
        raise ValueError("say it in whole billionths of a dollar")
    return int(nano)


def share(value: Any) -> float:
    """A part of a minute's quota: a fraction (``0.1``), or how many seconds of it (``"6s"``).
    Raises ValueError."""
    if isinstance(value, str):
        part = duration(value).total_seconds() / 60
    elif isinstance(value, int | float) and not isinstance(value, bool):
        part = float(value)
    else:
        raise ValueError('say a fraction of a minute\'s quota, or seconds of it: 0.1 or "6s"')
    if not 0 < part <= 1:
        raise ValueError('say more than 0 and at most a minute: 0.1 or "6s"')
    return part


def as_kind(kind: Any, value: Any) -> Any:
    """``value`` as a setting of that type. Raises ValueError."""
    if kind is timedelta:
        return duration(value)
    if kind in (Nano, Rate):
        return money(value)
    if kind is Share:
        return share(value)
    if kind is bool:
        return _boolean(value)
    if kind is int:
        return _whole(value)
    if kind == tuple[Nano, ...]:
        return tuple(money(item) for item in (value if isinstance(value, list) else [value]))
    if get_origin(kind) is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(v, str) for v in items):
            raise ValueError('say a list of texts, such as ["one", "two"]')
        return tuple(item.strip() for item in items if item.strip())
    if get_origin(kind) is dict and get_origin(get_args(kind)[1]) is dict:
        return _ages(value)
    if get_origin(kind) is dict:
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise ValueError('say a table of strings, such as { name = "value" }')
        return dict(value)
    if not isinstance(value, str):
        raise ValueError("say a text")
    return value


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off"):
        return False
    raise ValueError("say true or false")


def _whole(value: Any) -> int:
    if isinstance(value, bool | float):
        raise ValueError("say a whole number")
    number = int(value)
    if number < 0:
        raise ValueError("it cannot be negative")
    return number


def _ages(value: Any) -> dict[str, dict[str, timedelta | None]]:
    """``{agent: {state: age}}``."""
    if not isinstance(value, dict) or not all(isinstance(v, dict) for v in value.values()):
        raise ValueError("say a table for each agent, such as [retention.agents.clerk]")
    states = ("succeeded", "failed", "dead", "cancelled")
    found: dict[str, dict[str, timedelta | None]] = {}
    for agent, ages in value.items():
        for state, age in ages.items():
            if state not in states:
                raise ValueError(f"{agent}.{state} is none of {', '.join(states)}")
            never = isinstance(age, str) and age.strip().lower() in NEVER
            found.setdefault(agent, {})[state] = None if never else duration(age)
    return found


def noun(kind: Any) -> str:
    """What a value of that type is called."""
    if get_origin(kind) in (dict, tuple):
        return "a table" if get_origin(kind) is dict else "a list"
    names = {
        timedelta: "a duration", bool: "a boolean", int: "a whole number", Nano: "an amount",
        Rate: "a price", Share: "a share",
    }  # fmt: skip
    return names.get(kind, "a text")


def dollars(nano: int) -> str:
    """``$0.25``: exact, without zeros that say nothing."""
    whole, part = divmod(nano, NANO)
    digits = f"{part:09d}".rstrip("0")
    return f"${whole}.{digits.ljust(2, '0')}" if digits else f"${whole}"


def plain(value: Any, kind: Any = None) -> Any:
    """A setting as JSON and people have it; passwords are masked."""
    if value is not None and kind in (Nano, Rate, tuple[Nano, ...], Nano | None, Rate | None):
        return [dollars(one) for one in value] if isinstance(value, tuple) else dollars(value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, str):
        return SECRET.sub(r"\1***@", value)
    return value
