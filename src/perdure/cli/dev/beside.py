"""The proxy that ``perdure dev --gateway`` starts beside the server: a process of its own, so that
it outlives reloads, which ends with ``perdure dev``, however that ends.

``python -m perdure.cli.dev.beside ORDER`` is that process. It says its URL in one line, and stops
when its standard input is closed: the system does that for whoever is killed, too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from perdure.cli.dev.order import Order
from perdure.cli.terminal.output import stderr
from perdure.errors import PerdureError, Unreachable

END_S = 15.0


@contextmanager
def beside(order: Order) -> Iterator[Order]:
    """The order with the proxy's URL in it; the proxy runs within this. Raises Unreachable where it
    does not start: it has said why."""
    process = subprocess.Popen(
        [sys.executable, "-m", "perdure.cli.dev.beside", order.encode(first=True)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the server first
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise Unreachable(
                "The proxy did not start.", hint="See above; [proxy] port says where it listens."
            )
        text = f"  proxy  {url}  (perdure.subprocess_env() leads programs there)"
        stderr().print(text, style="dim")
        yield replace(order, flags={**order.flags, "proxy__url": url})
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main(order: Order) -> int:
    """Returns the exit code."""
    from perdure.cli.gateway import serve

    def watch() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        config = order.load()

        def ready(url: str, store_url: str) -> None:
            print(url, flush=True)
            threading.Thread(target=watch, daemon=True).start()

        return serve(config, ready)
    except PerdureError as error:
        hint = f"hint: {error.hint}\n" if error.hint else ""
        sys.stderr.write(f"error: {error.message}\n{hint}")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(Order.decode(sys.argv[1])))
