"""Keys of shared documents are parts between slashes; any text can be a part."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from urllib.parse import quote, unquote_plus

LONGEST = 96


@lru_cache(maxsize=4096)
def part(text: str) -> str:
    """``text`` as one part of a key: readable, without a slash, and of a bounded length."""
    quoted = quote(text, safe=":@ ").replace(" ", "+")
    if len(quoted) <= LONGEST:
        return quoted
    return f"{quoted[:48]}~{blake2b(text.encode(), digest_size=12).hexdigest()}"


def unpart(text: str) -> str:
    """What ``part`` made ``text`` of; of a long one, only its beginning is there."""
    return unquote_plus(text)
