"""The credentials of targets, and names for those that agents bring along."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Protocol

KEPT_S = 30.0  # how long a secret that was read is used: files are renewed
_NAMES = ("authorization", "x-api-key", "api-key", "x-goog-api-key")


class Secret(Protocol):
    """Where a credential is kept."""

    def read(self) -> str:
        """It, as it is now. Raises ConfigError."""


class Credentials:
    """By label. ``clock`` is monotonic, in seconds."""

    def __init__(
        self, kept: Mapping[str, Secret], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kept = kept
        self._clock = clock
        self._read: dict[str, tuple[float, str]] = {}

    def secret(self, label: str) -> str:
        """The credential itself. Raises ConfigError where it cannot be read."""
        found = self._read.get(label)
        now = self._clock()
        if found is None or now - found[0] > KEPT_S:
            found = self._read[label] = (now, self._kept[label].read())
        return found[1]


def named(headers: Mapping[str, str]) -> str:
    """What to call the credential that a request brings: a digest, from which nobody gets it back;
    "" where it brings none."""
    for name in _NAMES:
        value = headers.get(name)
        if value:
            return _digest(value)
    return ""


@lru_cache(maxsize=256)
def _digest(value: str) -> str:
    return "key-" + blake2b(value.encode("latin-1", "replace"), digest_size=4).hexdigest()


def header(provider: str, format: str, secret: str) -> tuple[str, str]:
    """The header that a provider wants a credential in."""
    if provider == "azure":
        return "api-key", secret
    if format == "anthropic.messages" and provider in ("anthropic", ""):
        return "x-api-key", secret
    return "authorization", f"Bearer {secret}"
