"""Short names for places in an agent's own concurrency. The whole names are made for matching:
they hold the rounds of a graph and the ids of calls, which say nothing to people who see the
effects in their order anyway."""

from __future__ import annotations

import re
from collections.abc import Iterable

MARK = "⑂"
BESIDE = "events"  # where adapters write what they tell: no place of the agent's own
_ROUND = re.compile(r".*#\d+")  # graph#3
# A call's id: a UUID, or a long word of letters and digits, each behind some prefix.
_ID = re.compile(
    r"(?:[A-Za-z]+[_-])*(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|(?=[A-Za-z]*\d)[A-Za-z0-9]{12,}|(?<=call_)\w{12,}|(?<=toolu_)\w{12,})"
)


def is_beside(branch: str) -> bool:
    """Whether it is a place where a framework's adapter tells its own events."""
    return branch.removeprefix("/").partition("/")[0] == BESIDE


def short(branches: Iterable[str]) -> dict[str, str]:
    """Each with its short name: without rounds; calls that only their ids tell apart are numbered
    in the order given. Empty for the root, and where nothing is left to say."""
    calls: dict[str, list[str]] = {}  # without ids -> with them
    for branch in dict.fromkeys(branches):
        calls.setdefault(anonymous(branch), []).append(branch)
    found = {}
    for alike in calls.values():
        for n, branch in enumerate(alike):
            parts = [part for part in _parts(branch) if not _ROUND.fullmatch(part)]
            kept = [part for part in parts if not _ID.fullmatch(part)]
            if len(alike) > 1:
                kept.append(str(n))
            found[branch] = "/".join(kept)
    return found


def _parts(branch: str) -> list[str]:
    return [part for part in branch.split("/") if part]


def anonymous(branch: str) -> str:
    """Without the ids of calls, which are others in every run."""
    return "/".join("" if _ID.fullmatch(part) else part for part in branch.split("/"))
