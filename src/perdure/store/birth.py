"""Which process is meant: proof that one has ended, where it can be had.

A pid alone names a process only for as long as it lives, and only inside its PID namespace. A
*birth* is the machine's boot, the PID namespace and the process's start in it (proc(5)). A process
of this namespace whose pid is free, or is another's by now, has ended for certain (L5, P3). Of
other machines and containers nothing can be said.
"""

from __future__ import annotations

import os
from pathlib import Path

UNKNOWN = ""


def mine() -> str:
    """The birth of this process; UNKNOWN where the system has no /proc."""
    try:
        return f"{_here()}/{_started(os.getpid())}"
    except OSError:
        return UNKNOWN


def ended(birth: str, pid: int) -> bool:
    """Whether it is proven that the process of that birth and pid has ended."""
    here, _, started = birth.rpartition("/")
    try:
        if not here or here != _here():
            return False
        return _started(pid) != started
    except FileNotFoundError:
        return Path("/proc/self/stat").exists()
    except OSError:
        return False


def _here() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.readlink('/proc/self/ns/pid')}"


def _started(pid: int) -> str:
    """Field 22 of its stat: clock ticks since boot. The name before it may hold anything; a
    process that has ended and waits for its parent has no work left to do."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        raise FileNotFoundError(pid)
    return fields[19]
