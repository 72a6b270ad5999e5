"""``python -m perdure.cli.dev.child ORDER LINK``: a process that the supervisor of ``perdure dev``
starts. It loads the agents, says so, waits for its turn, and serves."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Mapping

from rich.text import Text

from perdure.cli.dev.files import loaded
from perdure.cli.dev.link import Link, described
from perdure.cli.dev.order import Order
from perdure.cli.terminal.banner import banner
from perdure.cli.terminal.output import stderr
from perdure.config import Config
from perdure.errors import PerdureError
from perdure.runtime.agent import Agent
from perdure.server.serve import Address
from perdure.server.service import Service


def main(order: Order, link: Link) -> int:
    """Returns the exit code. Failures are told over the link, and shown by the supervisor."""
    _ignore_ctrl_c()
    try:
        config = order.load()
        # The supervisor says why it stops.
        logging.getLogger("perdure.server").setLevel(logging.WARNING)
        agents = order.agents(config)
        link.loaded(list(agents))
        sock = link.wait()
        if sock is None:
            return 0
        link.watch()
        return _serve(order, config, agents, link, sock)
    except PerdureError as error:
        link.say(failed=described(error), files=loaded())
        return error.exit_code


def _serve(
    order: Order, config: Config, agents: Mapping[str, Agent], link: Link, sock: socket.socket
) -> int:
    from perdure.cli.dev.serving import serve

    def ready(address: Address, service: Service) -> None:
        # uvicorn has taken Ctrl-C by now.
        _ignore_ctrl_c()
        if order.first:
            banner(agents, address.url, service.store.url, page=config.server.console)
        else:
            text = Text("  ↻ serving the new code: ", "cyan").append(", ".join(agents))
            stderr().print(text, soft_wrap=True)
        link.say(ready=list(agents))

    return serve(config, agents, sock=sock, on_ready=ready)


def _ignore_ctrl_c() -> None:
    """A terminal sends it to both processes; the supervisor alone decides, and says SIGTERM. A
    handler, not SIG_IGN: what the agent starts would inherit that."""
    signal.signal(signal.SIGINT, lambda number, frame: None)


if __name__ == "__main__":
    sys.exit(main(Order.decode(sys.argv[1]), Link(int(sys.argv[2]))))
