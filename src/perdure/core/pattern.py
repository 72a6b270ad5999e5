"""Names with wildcards, as settings have them for models, agents and tenants: ``*`` is any text,
``?`` one character, ``[ab]`` one of these. Capitals count."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase


def fits(patterns: Sequence[str], name: str) -> bool:
    """Whether any of ``patterns`` stands for ``name``; no pattern at all stands for every name."""
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def exactness(patterns: Sequence[str], name: str) -> int:
    """How closely the best of ``patterns`` names ``name``: -1 not at all, more is closer, and a
    name without a wildcard is closest."""
    best = -1
    for pattern in patterns:
        if pattern == name:
            return 1 << 16
        if fnmatchcase(name, pattern):
            best = max(best, sum(char not in "*?[]" for char in pattern))
    return best if patterns else 0
