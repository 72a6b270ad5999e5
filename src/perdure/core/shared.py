"""Small documents that all workers share: how full a provider's meters are, what a budget has left,
which target is broken. Changed by compare-and-swap, so that whoever decides on old news loses.

A document is whatever its owner makes of it; its version rises with each change. The keeper's
clock is the only clock: a worker knows it as the last ``now`` plus its own monotonic time since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from perdure.errors import UsageError

TOPIC = "shared"  # told of changes, with the key as payload, for keys with one of these prefixes
TOLD = ("breaker/", "halt/")
# What lets a call out now, or is learned anew: a keeper may answer before a change is on its disk.
LIGHT = ("limits/", "estimate/", "past/")
LAST = "\U0010ffff"  # no key has anything after it
LONGEST = 90_000.0  # seconds: a day, the longest window that documents are kept of, and a little


class Document(NamedTuple):
    """``version`` 0 and no body: it is not there. The first version is the keeper's time in
    microseconds, so that what was deleted, or lost, and made again is never taken for the old."""

    version: int = 0
    body: bytes = b""


class Swap(NamedTuple):
    """A change: of ``version``, and no other, to ``body``. No body deletes."""

    key: str
    version: int
    body: bytes


class Swapped(NamedTuple):
    """``now``: the keeper's clock, in seconds since 1970 UTC. ``documents``: those that were read
    or to be changed, as they are after the call. ``fresh``: the keeper's memory is younger than the
    longest window, so that what is not there may have been lost. Databases never are."""

    now: float
    done: bool
    documents: Mapping[str, Document]
    fresh: bool = False


def changed(swaps: Sequence[Swap]) -> list[str]:
    """The keys of these changes. Raises UsageError where one is to be changed twice."""
    keys = [swap.key for swap in swaps]
    if len(set(keys)) < len(keys):
        raise UsageError(f"A document is to be changed twice at once: {', '.join(sorted(keys))}.")
    return keys


def told(swaps: Sequence[Swap]) -> list[str]:
    """Of which of these changes others are told."""
    return [swap.key for swap in swaps if swap.key.startswith(TOLD)]


def light(swaps: Sequence[Swap]) -> bool:
    """Whether nobody has to wait until these changes are on the disk."""
    return all(swap.key.startswith(LIGHT) for swap in swaps)


class Shared(Protocol):
    """Who keeps the documents."""

    async def swap(self, reads: Sequence[str], swaps: Sequence[Swap] = ()) -> Swapped:
        """All of ``swaps`` or, where any version is another by now, none of them; one round trip.

        A key is changed at most once in a call (else UsageError). Callers lock in one order, so
        that nobody deadlocks. Repeating a call whose answer was lost is safe: it finds its own
        change and is refused with it. Raises StoreUnavailable."""

    async def listed(self, prefix: str, limit: int = 1000) -> Swapped:
        """The documents whose keys begin with ``prefix``, by key, ``limit`` of them at most. For
        people who look, not for calls: a keeper may search through all it keeps. Raises
        StoreUnavailable."""
