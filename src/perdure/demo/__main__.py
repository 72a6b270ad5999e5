"""``python -m perdure.demo``: the same as ``perdure demo``."""

from __future__ import annotations

import sys

from perdure.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
