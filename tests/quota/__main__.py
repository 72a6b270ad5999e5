"""``python -m tests.quota``: workers under fire share a provider's limits; prints the table.

Sixteen lanes: four kinds of meter, four limits. ``--keeper``, ``--kind``, ``--limit`` narrow them
down, all of those that are left are asked of one provider together. ``--window 6`` is ten times as
fast, for a first look.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.quota.lanes import AMOUNTS, KINDS, LIMITS, Lane
from tests.quota.play import Plan, play, table


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keeper", choices=("postgres", "redis"), default="postgres")
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--limit", choices=LIMITS, action="append")
    parser.add_argument("--window", type=float, default=60.0, help="seconds")
    parser.add_argument("--span", type=float, help="seconds that are counted")
    parser.add_argument("--kills", type=float, default=12.0, help="seconds between them; 0: none")
    parser.add_argument("--outages", type=int, default=2)
    parser.add_argument("--no-fence", action="store_true", help="to see it fail")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep what the processes say here")
    options = parser.parse_args()
    lanes = tuple(
        Lane(kind, limit, AMOUNTS[limit], options.window)
        for limit in options.limit or LIMITS
        for kind in options.kind or KINDS
    )
    plan = Plan(
        lanes, options.keeper, warm=1.25 * options.window, span=options.span or 5 * options.window,
        kills=options.kills, outages=options.outages, fence=not options.no_fence,
        seed=options.seed,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        if options.folder is not None:
            options.folder.mkdir(parents=True, exist_ok=True)
        figures = await play(plan, options.folder or Path(folder))
    print(figures.words)
    print(table(figures, options.keeper))
    return 1 if figures.faults else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
