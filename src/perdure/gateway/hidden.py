"""The event of a chat stream that says what it took, where only we asked for it.

OpenAI's chat streams tell their usage in one more event, with no choices, and only if asked to by
``stream_options``. The ledger asks; agents that did not must not see an event that they do not
expect (many read ``choices[0]`` of each). It comes after the finish, so it is among what a relay
holds back until the stream is complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

_ENDS = (b"\r\n\r\n", b"\n\n", b"\r\r")


def without_usage(held: Sequence[bytes]) -> tuple[list[bytes], Mapping[str, Any] | None]:
    """``held`` without that event, and its usage; unchanged, and None, where there is none."""
    whole = b"".join(held)
    end = next((end for end in _ENDS if end in whole), b"\n\n")
    kept, usage = [], None
    for event in whole.split(end):
        found = _usage(event)
        if found is None:
            kept.append(event)
        else:
            usage = found
    if usage is None:
        return list(held), None
    return [end.join(kept)], usage


def _usage(event: bytes) -> Mapping[str, Any] | None:
    data = b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))
    if b'"usage"' not in data:
        return None
    try:
        read = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(read, dict) or read.get("choices") != []:
        return None
    usage = read.get("usage")
    return usage if isinstance(usage, dict) else None
