"""``python -m tests.faults``: the whole matrix, as a table.

Options: ``--point P``, ``--store S``, ``--agent A`` narrow it down; ``--jobs N`` cases at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from tests.faults.cases import AGENTS, STORES, VISITS, every
from tests.faults.harness import Case, Outcome, database, play

COLUMNS = ("model repeated", "tools repeated", "once twice", "runs lost", "events lost/rep.")


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--point", choices=[str(p) for p in VISITS])
    parser.add_argument("--store", choices=STORES)
    parser.add_argument("--agent", choices=AGENTS)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    cases = [
        case
        for case in every()
        if options.point in (None, case.point)
        and options.store in (None, case.store)
        and options.agent in (None, case.agent)
    ]
    results: dict[Case, Outcome] = {}
    gate = asyncio.Semaphore(options.jobs)
    start = time.monotonic()
    with ExitStack() as stack:
        databases = {store: database(stack, store) for store in {case.store for case in cases}}
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        async def one(i: int, case: Case) -> None:
            async with gate:
                place = folder / str(i)
                place.mkdir()
                results[case] = await play(case, place, databases[case.store]())
                mark = "ok" if results[case].good else "FAILED"
                print(f"[{len(results)}/{len(cases)}] {case} {mark}", flush=True)
                if not results[case].good:
                    print("\n".join(results[case].notes), flush=True)

        await asyncio.gather(*[one(i, case) for i, case in enumerate(cases)])
    show(results, time.monotonic() - start)
    return 0 if all(outcome.good for outcome in results.values()) else 1


def show(results: dict[Case, Outcome], seconds: float) -> None:
    """The table: crash point x store x agent."""
    rows: dict[tuple[str, str, str], list[Outcome]] = defaultdict(list)
    for case, outcome in results.items():
        rows[case.point, case.store, case.agent].append(outcome)
    head = f"{'crash point':<18} {'store':<9} {'agent':<12} {'kills':>5} {'again*':>6}"
    print("\n" + head + "".join(f" {name:>16}" for name in COLUMNS))
    for (point, store, agent), outcomes in sorted(rows.items()):
        figures = (
            sum(o.model_repeated for o in outcomes),
            sum(o.tools_repeated for o in outcomes),
            sum(o.once_twice for o in outcomes),
            sum(o.runs_lost for o in outcomes),
            sum(o.events_lost + o.events_repeated for o in outcomes),
        )
        killed = f"{sum(o.killed for o in outcomes)}/{len(outcomes)}"
        again = sum(o.again_in_flight for o in outcomes)
        line = f"{point:<18} {store:<9} {agent:<12} {killed:>5} {again:>6}"
        print(line + "".join(f" {figure:>16}" for figure in figures))
    print("\n* model calls sent again because their answer was not durable when the process died")
    print(f"{len(results)} kills in {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
