"""``python -m tests.quota.nursery``: begins worker processes at once, having imported everything.

Each line on stdin is a worker: JSON with ``arguments`` of ``perdure``, ``environ``, ``log``,
``skew`` (seconds by which its clock is wrong), ``fence`` and ``ttl`` (seconds after which a silent
worker's money counts as spent; 0: as it is). Its pid is the answer. All end with this process.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import sys
import time
import traceback
from datetime import datetime, tzinfo
from typing import Any

import anthropic
import openai

import perdure.assembly
import perdure.cli.main
import perdure.core.budget
import perdure.gateway.capture
import perdure.gateway.gate
import perdure.gateway.wallet
import perdure.store.postgres.store
import perdure.store.redis
from tests.quota import agents, unfenced

PARENT_DEATH = 1  # PR_SET_PDEATHSIG
LOADED = (anthropic, openai, agents, perdure.assembly, perdure.gateway.gate)


def set_clock_wrong(seconds: float) -> None:
    """Whatever asks this process's own clock is told a wrong time."""
    right, exact = time.time, time.time_ns
    time.time = lambda: right() + seconds
    time.time_ns = lambda: exact() + int(seconds * 1e9)

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Wrong:
            return cls.fromtimestamp(right() + seconds, tz)

    perdure.gateway.capture.datetime = Wrong  # type: ignore[attr-defined]


def live(wanted: dict[str, Any]) -> int:
    """A worker's life."""
    ctypes.CDLL(None).prctl(PARENT_DEATH, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(out, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(wanted["environ"])
    set_clock_wrong(wanted["skew"])
    random.seed()
    if not wanted["fence"]:
        unfenced.install()
    if wanted["ttl"]:
        perdure.core.budget.TTL = wanted["ttl"]
        perdure.gateway.wallet.REFRESH_S = wanted["ttl"] / 3
    try:
        perdure.cli.main.main(wanted["arguments"])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def main() -> None:
    """Until stdin ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = live(json.loads(line))
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
