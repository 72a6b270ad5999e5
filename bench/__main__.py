"""Measure Perdure beside the limits of this machine and say which targets are met.

    python -m bench [NAME ...] [--repeat 5] [--quick] [--json]

The exit code says only whether everything could be measured: figures are no tests. What is measured
beside other products is in ``python -m bench.peers``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from importlib import import_module

from bench.figure import Figure, Size, show

SUBJECTS = (
    "steps", "queue", "latency", "in_place", "kill", "idle", "replay", "memory", "claims",
    "startup", "gateway", "proxy",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"of: {', '.join(SUBJECTS)}")
    parser.add_argument("--repeat", type=int, default=5, help="interleaved rounds (5)")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    options = parser.parse_args()
    names = options.names or SUBJECTS
    unknown = sorted(set(names) - set(SUBJECTS))
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(SUBJECTS)}")
    size = Size(options.repeat, options.quick)
    figures: list[Figure] = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        figures += asyncio.run(import_module(f"bench.{name}").measure(size))
    if options.json:
        print(json.dumps([figure.to_dict() for figure in figures], indent=1))
    else:
        show(figures)


if __name__ == "__main__":
    main()
