"""What providers' headers say is left of their limits (checked November 2026).

Anthropic: ``anthropic-ratelimit-{requests,input-tokens,output-tokens}-remaining``, tokens rounded
to thousands. OpenAI and those that speak its API: ``x-ratelimit-remaining-{requests,tokens}``, and
of a project's own limit ``x-ratelimit-remaining-project-tokens``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from perdure.core.admission.limits import What

THOUSANDS = 1000


class Level(NamedTuple):
    """``remaining`` is left of a minute's ``what``, in multiples of ``rounded``."""

    what: What
    remaining: int
    rounded: int = 1


_NAMES: tuple[tuple[str, What, int], ...] = (
    ("anthropic-ratelimit-requests-remaining", What.REQUESTS, 1),
    ("anthropic-ratelimit-input-tokens-remaining", What.INPUT, THOUSANDS),
    ("anthropic-ratelimit-output-tokens-remaining", What.OUTPUT, THOUSANDS),
    ("x-ratelimit-remaining-requests", What.REQUESTS, 1),
    ("x-ratelimit-remaining-tokens", What.TOKENS, 1),
    ("x-ratelimit-remaining-project-tokens", What.TOKENS, 1),
)


def levels(headers: Mapping[str, str]) -> list[Level]:
    """Those that a response tells; what is no number is passed over."""
    found = []
    for name, what, rounded in _NAMES:
        if name not in headers:  # cheaper than to ask for what is mostly not there
            continue
        value = headers[name]
        if value.isascii() and value.isdigit() and len(value) < 16:
            found.append(Level(what, int(value), rounded))
    return found
