"""Names of runs: UUIDs of version 7 (RFC 9562), which begin with the time, so that new rows of an
index lie side by side."""

from __future__ import annotations

import os
import time
from uuid import UUID


def new_run_id() -> str:
    """48 bits of milliseconds since 1970, 74 random bits, version and variant."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF000 << 64) | 0x7000 << 64
    value = value & ~(0xC000 << 48) | 0x8000 << 48
    return str(UUID(int=value))
