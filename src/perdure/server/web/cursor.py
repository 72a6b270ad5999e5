"""Where a listing goes on: opaque to clients. It names a place in the order in which runs were
made, so it holds whatever is added, changed or deleted meanwhile."""

from __future__ import annotations

import re

from perdure.errors import InvalidInput

PATTERN = "^[0-7][0-9a-f]{15}$"  # 63 bits


def make(place: int) -> str:
    """The cursor of what comes after this place."""
    return f"{place:016x}"


def place(cursor: str) -> int:
    """Raises InvalidInput for what :func:`make` has not made."""
    if not re.fullmatch(PATTERN.strip("^$"), cursor):
        raise InvalidInput(
            "That is no cursor of a listing.",
            hint="Take it from next, or from the Link header, of the page before.",
            parameter="cursor",
        )
    return int(cursor, 16)
