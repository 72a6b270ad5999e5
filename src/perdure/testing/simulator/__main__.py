"""``python -m perdure.testing.simulator``: the simulator as a process."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from perdure.errors import PerdureError
from perdure.testing.simulator.process import Options, add_arguments, serve

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments and serves; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m perdure.testing.simulator", description="A simulated model provider."
    )
    add_arguments(parser)
    try:
        serve(Options(**vars(parser.parse_args(argv))))
    except PerdureError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
