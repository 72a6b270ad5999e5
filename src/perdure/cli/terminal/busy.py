"""A note for whoever waits: after a second, on a terminal, and nowhere else."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 1.0  # seconds that nobody needs to be told of


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Within it, when it takes longer than a second, ``what`` is under way is shown on stderr, and
    taken away at the end."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.status import Status
    from rich.text import Text

    from perdure.cli.terminal.output import moving, stderr

    status = Status(Text(f"{what} …", "dim"), console=stderr())
    lock, over = threading.Lock(), False

    def tell() -> None:
        with lock:
            if not over and moving(stderr()):
                status.start()

    timer = threading.Timer(PATIENCE, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            over = True
            status.stop()
