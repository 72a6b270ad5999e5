"""How long a client wants to wait: RFC 7240 ``Prefer: wait=N`` and ``respond-async``, or
``?wait=N``, which wins. Waiting is never a deadline: what is not ready by then goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import Request

from perdure.errors import InvalidInput

_PREFERENCE = re.compile(r'\s*([!#$%&\'*+\-.^_`|~\w]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"|[^;,"]*))?')


@dataclass(frozen=True, slots=True)
class Patience:
    """``seconds`` to wait, 0 for not at all. ``applied`` is what ``Preference-Applied`` says."""

    seconds: float = 0.0
    applied: str | None = None


def preferences(headers: Iterable[str]) -> dict[str, str]:
    """The preferences of all ``Prefer`` headers; of a name that comes twice the first counts.
    Their parameters are left out, and what cannot be read is ignored (RFC 7240, section 2)."""
    found: dict[str, str] = {}
    for header in headers:
        for part in _split(header):
            match = _PREFERENCE.match(part)
            if match:
                value = (match[2] or "").strip()
                if value.startswith('"'):
                    value = re.sub(r"\\(.)", r"\1", value[1:-1])
                found.setdefault(match[1].lower(), value)
    return found


def patience(request: Request, longest: timedelta) -> Patience:
    """What ``request`` asks for, up to ``longest``. Raises InvalidInput for a bad ``?wait=``."""
    bound = longest.total_seconds()
    asked = request.query_params.get("wait")
    if asked is not None:
        try:
            seconds = float(asked)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < float("inf"):
            raise InvalidInput(f"wait={asked!r} is no number of seconds.", parameter="wait")
        return Patience(min(seconds, bound))
    headers = request.headers.getlist("prefer")
    if not headers:
        return Patience()
    wanted = preferences(headers)
    if wanted.get("wait", "").isdecimal():
        seconds = min(float(wanted["wait"]), bound)
        return Patience(seconds, f"wait={seconds:g}")
    if "respond-async" in wanted:
        return Patience(0.0, "respond-async")
    return Patience()


def _split(header: str) -> list[str]:
    """At commas outside of quotes."""
    return re.findall(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+', header)
