"""The kill switch's verbs: halt an agent or a tenant, lift it, list what is halted."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote_plus

from perdure.core.halt import KEYS, PREFIX, Halt, decode, encode
from perdure.core.shared import Shared, Swap
from perdure.errors import InvalidInput, NotFound

MAX_TEXT = 500  # characters of a name, and of a reason
LISTED = 1000


class Halted(NamedTuple):
    """``kind`` is ``agent`` or ``tenant``."""

    kind: str
    name: str
    halt: Halt


async def halt(shared: Shared, kind: str, name: str, *, by: str, reason: str = "") -> Halted:
    """Refuse new model calls of an agent or for a tenant, within a second on every worker; those
    under way end. Halting what is halted changes nothing. Raises InvalidInput, StoreUnavailable."""
    key = _key(kind, name)
    if len(reason) > MAX_TEXT or "\0" in reason:
        raise InvalidInput(f"A reason has at most {MAX_TEXT} characters, and no NUL.")
    swapped = await shared.swap([key])
    while True:
        document = swapped.documents[key]
        there = decode(document.body)
        if there is not None:
            return Halted(kind, name, there)
        made = Halt(by, round(swapped.now, 3), reason, name)
        swapped = await shared.swap([], [Swap(key, document.version, encode(made))])
        if swapped.done:
            return Halted(kind, name, made)


async def lift(shared: Shared, kind: str, name: str) -> Halted:
    """Let model calls go out again; returns what was lifted. Raises NotFound, InvalidInput,
    StoreUnavailable."""
    key = _key(kind, name)
    swapped = await shared.swap([key])
    while True:
        document = swapped.documents[key]
        there = decode(document.body)
        if there is None:
            raise NotFound(f"The {kind} {name!r} is not halted.", hint="perdure halt list")
        swapped = await shared.swap([], [Swap(key, document.version, b"")])
        if swapped.done:
            return Halted(kind, name, there)


async def halts(shared: Shared) -> list[Halted]:
    """What is halted, the longest first. Raises StoreUnavailable."""
    found = []
    for key, document in (await shared.listed(PREFIX, LISTED)).documents.items():
        _, kind, part = key.split("/", 2)
        if (there := decode(document.body)) is not None:
            found.append(Halted(kind, there.name or unquote_plus(part), there))
    return sorted(found, key=lambda halted: halted.halt.at)


def _key(kind: str, name: str) -> str:
    if kind not in KEYS:
        raise InvalidInput(f"There is no halting of {kind!r}.", hint="agent, or tenant")
    if not name or len(name) > MAX_TEXT or "\0" in name:
        raise InvalidInput(f"A name has 1 to {MAX_TEXT} characters, and no NUL.")
    return KEYS[kind](name)
