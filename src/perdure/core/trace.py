"""W3C trace context (https://www.w3.org/TR/trace-context/): which trace a run belongs to.

Every run has a trace id: the one of the ``traceparent`` it was started with or, where there was
none, its own id, which is 16 bytes as well. So nothing has to be stored for it to be found by.
"""

from __future__ import annotations

import re
from uuid import UUID

_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
SAMPLED = "01"


def accepted(header: str | None) -> str | None:
    """A ``traceparent`` header as it is kept, or None for one that has to be ignored. What a
    later version of the standard adds at its end is left out."""
    found = None if header is None else _TRACEPARENT.fullmatch(header.strip())
    if found is None or (found["version"] == "00" and found["more"]):
        return None
    return found[0].removesuffix(found["more"] or "")


def trace_id(run_id: str, traceparent: str | None) -> str:
    """32 hex digits: the trace that a run belongs to."""
    return traceparent[3:35] if traceparent is not None else run_id.replace("-", "")


def onward(run_id: str, traceparent: str | None) -> str:
    """The ``traceparent`` that a run hands on to what it starts: its trace, with itself as the
    parent."""
    flags = traceparent[53:55] if traceparent is not None else SAMPLED
    return f"00-{trace_id(run_id, traceparent)}-{run_id.replace('-', '')[16:]}-{flags}"


def run_of(trace: str) -> str:
    """The id of the run that this trace is named after, if it is named after one."""
    return str(UUID(trace))
