"""A process that journals and charges until it is killed: its driver, and itself."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from perdure.core.charge import Charge, Priced
from perdure.core.record import Record, RecordType
from perdure.runtime.recorder import Recorder
from perdure.store import make_store


def charge(name: str, **fields: Any) -> Charge:
    """A row of the ledger, named by its id."""
    known = {"agent": "agent", "provider": "anthropic", "model": "m", "priced": Priced.KNOWN}
    return Charge(name.encode().ljust(16, b"."), **known | fields)


class Attempt:
    """As the recorder sees it."""

    def __init__(self, run_id: str, epoch: int) -> None:
        self.run_id = run_id
        self.epoch = epoch
        self.next_seq = 1

    def lost(self) -> None:
        raise AssertionError

    def broken(self, error: Exception) -> None:
        raise AssertionError(error)


async def main(url: str, run_id: str, epoch: str) -> None:
    store = make_store(url)
    await store.open()
    recorder = Recorder(store)
    attempt = Attempt(run_id, int(epoch))
    for n in range(1, 1_000_000):
        recorder.charge(charge(str(n), run_id=run_id, step=str(n), cost=n))
        future = recorder.append(attempt, Record(RecordType.ENTRY, name=str(n)))
        if n % 3 == 0:
            await future
            print(n, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
