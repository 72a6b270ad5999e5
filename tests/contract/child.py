"""A worker process for the contract's tests: it joins, then does what standard input says.

Commands: ``claim N``, ``record RUN SEQ EPOCH``, ``holds``, ``leave``. Each is answered with one
line. A change of membership is printed as ``holds True`` or ``holds False``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta

from perdure.core.record import Record, RecordType
from perdure.store import make_store
from perdure.store.rows import LogRow, WorkerInfo


def say(text: object) -> None:
    print(text, flush=True)


async def main(url: str, worker: str, lease: float, grace: float) -> None:
    store = make_store(url)
    await store.open()
    membership = await store.join(
        WorkerInfo(worker, "child", os.getpid(), "0"),
        lease=timedelta(seconds=lease),
        grace=timedelta(seconds=grace),
        on_change=lambda holds: say(f"holds {holds}"),
    )
    say("joined")
    while line := await asyncio.to_thread(sys.stdin.readline):
        command, *arguments = line.split()
        if command == "claim":
            claimed = await store.claim(worker, ["default"], int(arguments[0]), idle=True)
            say(" ".join(sorted(lease.run_id for lease in claimed.leases)))
        elif command == "record":
            run_id, seq, epoch = arguments
            row = LogRow(run_id, int(seq), int(epoch), Record(RecordType.ENTRY, key=b"late"))
            say(await store.record([row]))
        elif command == "holds":
            say(membership.holds)
        elif command == "leave":
            await membership.leave()
            say("left")
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
