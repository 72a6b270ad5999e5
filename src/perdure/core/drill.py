"""A failover drill: for a while a share of a route's real traffic goes to one of its fallbacks
first, so that what it would do in an outage is known before there is one.

A document for each route, which every worker reads with the route's breakers. It ends by itself:
whoever began it may be gone. Pure; times are the keeper's clock.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import NamedTuple

from perdure.core.keys import part

PREFIX = "drill/"
WHY = "drill"  # what the ledger says of calls that went by it


class Drill(NamedTuple):
    """``percent`` of ``route``'s calls go to ``target`` from ``since`` to ``until`` (seconds since
    1970). ``id`` is unique; ``by``: who began it."""

    id: str
    route: str
    target: str
    percent: float
    since: float
    until: float
    by: str = ""


def key(route: str) -> str:
    """The document of a route."""
    return f"{PREFIX}{part(route)}"


def encode(drill: Drill) -> bytes:
    """The document's body."""
    return json.dumps(drill._asdict(), separators=(",", ":")).encode()


def decode(body: bytes) -> Drill | None:
    """None: there is none, or it cannot be read: real traffic stays where it belongs."""
    if not body:
        return None
    try:
        found = json.loads(body)
        return Drill(
            str(found["id"]), str(found["route"]), str(found["target"]), float(found["percent"]),
            float(found["since"]), float(found["until"]), str(found.get("by", "")),
        )  # fmt: skip
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def under_way(body: bytes, now: float) -> Drill | None:
    """The drill of a document, unless it is over."""
    found = decode(body)
    return found if found is not None and now < found.until else None


def drawn(drill: Drill, run: str, chance: float) -> bool:
    """Whether a call belongs to the share. All calls of a run do, or none, so that an agent's
    conversation is with one model; ``chance``, in [0, 1), decides for calls of no run."""
    digest = sha256(f"{drill.id}\0{run or repr(chance)}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48) < drill.percent / 100
