"""A circuit breaker for each target, shared by all workers: a small document that is written when
something fails, not when things go well.

Closed: failures of the last ``WINDOW`` seconds are counted in slots. Workers count what goes well
themselves and tell it with their next failure; enough failures, and not fewer than half of what was
told, open it. Open: nobody asks the target until its time has come; that time doubles while probes
fail. Half-open: one worker at a time probes, and a prober that is not heard of in ``PROBE`` seconds
has lost its turn. A probe that goes well closes it: calls come back to the target at once.

Pure; times are the keeper's clock. Whoever changes a state writes it by compare-and-swap and, where
that is refused, decides again on what it finds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from perdure.core.keys import part
from perdure.core.routing import Standing

WINDOW = 60.0
SLOT = 10.0
SHARE = 0.5  # of the calls told of must have failed, so that a busy target's bad luck is no outage
PROBE = 60.0
LONGEST = 16  # times ``open_for``: the longest that a breaker stays open


class Rule(NamedTuple):
    """So many failures open it, for so many seconds."""

    break_after: int = 5
    open_for: float = 30.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """``slots``: {slot's number: (went well, failed)}. ``opened``: how often in a row it was
    opened; 0: it is closed. ``until``: when the next probe may go. ``probe``: whose turn it is, and
    ``probe_ends``: until when."""

    slots: dict[int, tuple[int, int]] = field(default_factory=dict)
    opened: int = 0
    until: float = 0.0
    probe: str = ""
    probe_ends: float = 0.0


CLOSED = Breaker()


def key(target: str) -> str:
    """The document of a target."""
    return f"breaker/{part(target)}"


def standing(breaker: Breaker, now: float) -> Standing:
    """Whether the target may be asked."""
    if not breaker.opened:
        return Standing()
    if now < breaker.until:
        return Standing(open_until=breaker.until)
    if breaker.probe and now < breaker.probe_ends:
        return Standing(open_until=breaker.probe_ends)
    return Standing(probe=True)


def take_probe(breaker: Breaker, probe: str, now: float) -> Breaker | None:
    """The state once the prober with the unique name ``probe`` has its turn; None: it has not."""
    if not standing(breaker, now).probe:
        return None
    return replace(breaker, probe=probe, probe_ends=now + PROBE)


def give_back(breaker: Breaker, probe: str) -> Breaker:
    """The prober did not ask after all, or what came back says nothing about the target (its own
    call was wrong, or a quota was used up)."""
    return replace(breaker, probe="", probe_ends=0.0) if breaker.probe == probe else breaker


def well(breaker: Breaker, probe: str = "") -> Breaker:
    """A probe was answered. What went well otherwise is told with the next failure."""
    # Even a probe whose turn is over has seen the target answer.
    return CLOSED if probe and breaker.opened else breaker


def failed(
    breaker: Breaker, rule: Rule, now: float, failures: int = 1, fine: int = 0, probe: str = ""
) -> Breaker:
    """``failures`` more, and ``fine`` calls that went well since this worker's last word. With
    ``probe`` it was a probe that failed."""
    if breaker.opened:
        # Calls that were under way when it opened are no news, nor is a probe out of its turn.
        return _open(breaker, rule, now) if probe and breaker.probe == probe else breaker
    number = int(now // SLOT)
    oldest = number - int(WINDOW // SLOT)
    slots = {at: counts for at, counts in breaker.slots.items() if oldest < at <= number}
    before = slots.get(number, (0, 0))
    slots[number] = (before[0] + fine, before[1] + failures)
    bad = sum(counts[1] for counts in slots.values())
    whole = bad + sum(counts[0] for counts in slots.values())
    if bad >= rule.break_after and bad >= SHARE * whole:
        return _open(breaker, rule, now)
    return replace(breaker, slots=slots)


def encode(breaker: Breaker) -> bytes:
    """The document's body; nothing for a breaker with nothing to say."""
    if breaker == CLOSED:
        return b""
    found: dict[str, object] = {
        "s": {str(at): list(counts) for at, counts in breaker.slots.items()},
        "o": breaker.opened,
        "u": breaker.until,
    }
    if breaker.probe:
        found["p"] = [breaker.probe, breaker.probe_ends]
    return json.dumps(found, separators=(",", ":")).encode()


def decode(body: bytes) -> Breaker:
    """Of a document's body; nothing, or what cannot be read, is closed."""
    if not body:
        return CLOSED
    try:
        found = json.loads(body)
        probe, ends = found.get("p", ("", 0.0))
        return Breaker(
            {int(at): (int(fine), int(bad)) for at, (fine, bad) in found["s"].items()},
            int(found["o"]),
            float(found["u"]),
            str(probe),
            float(ends),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return CLOSED


def _open(breaker: Breaker, rule: Rule, now: float) -> Breaker:
    times = min(LONGEST, 1 << min(breaker.opened, 10))
    return Breaker(opened=breaker.opened + 1, until=now + rule.open_for * times)
