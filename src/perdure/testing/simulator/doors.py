"""The addresses of a simulator's targets, which open and shut while it runs.

A target that is shut refuses connections, as a provider whose machine is gone, and cuts those that
it has. It keeps its port: a second socket is bound to it that never listens.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from perdure.errors import InvalidInput, PortInUse

if TYPE_CHECKING:
    from perdure.testing.simulator.server import Server

__all__ = ["Doors", "listen", "url_of"]

_NAME = re.compile(r"(?!(_sim|v1|v1beta)$)[A-Za-z0-9._-]+")


class _Door:
    """One target's address. ``sock`` is None while it is shut."""

    def __init__(self, host: str, port: int) -> None:
        self._guard: socket.socket | None = None
        try:
            # Where the system allows two sockets on one port as long as none listens (Linux).
            self._guard = _bound(host, port)
            self.sock: socket.socket | None = listen(host, self._guard.getsockname()[1])
        except (OSError, PortInUse):
            if self._guard is not None:
                self._guard.close()
                self._guard = None
            self.sock = listen(host, port)
        self.host: str = self.sock.getsockname()[0]
        self.port: int = self.sock.getsockname()[1]
        self.timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        for sock in (self.sock, self._guard):
            if sock is not None:
                sock.close()


class Doors:
    """The address of the simulator itself (the target "") and of each named target.

    ``targets`` maps names to ports, 0 for a free one. Raises PortInUse and InvalidInput.
    """

    def __init__(self, host: str, port: int, targets: Mapping[str, int]) -> None:
        for name in targets:
            if not _NAME.fullmatch(name):
                raise InvalidInput(
                    f"No target can be called {name!r}.",
                    hint="Use letters, digits, '.', '_' and '-'; not v1, v1beta or _sim.",
                )
        self._doors: dict[str, _Door] = {}
        try:
            for name, number in {"": port, **targets}.items():
                self._doors[name] = _Door(host, number)
        except PortInUse:
            self.close()
            raise
        self._names = {door.port: name for name, door in self._doors.items()}
        self.server: Server | None = None

    def sockets(self) -> list[socket.socket]:
        """The listening sockets, in the order of the targets."""
        return [door.sock for door in self._doors.values() if door.sock is not None]

    def name_of(self, port: int) -> str:
        """The target that has this port."""
        return self._names.get(port, "")

    def url(self, target: str = "") -> str:
        """Where a target is reached, also while it is shut. Raises InvalidInput."""
        door = self._of(target)
        return _url(door.host, door.port)

    def listed(self) -> list[dict[str, Any]]:
        """Every target as JSON values: its name, its URL and whether it is down."""
        return [
            {"target": name, "url": self.url(name), "down": door.sock is None}
            for name, door in self._doors.items()
        ]

    async def shut(self, target: str, *, seconds: float | None = None, spare: Any = None) -> None:
        """Refuses connections from now on and cuts those there are, but for the transport
        ``spare``; after ``seconds``, if given, opens again. On the server's loop."""
        door, server = self._of(target), self._running()
        if door.timer is not None:
            door.timer.cancel()
            door.timer = None
        if door.sock is not None:
            door.sock = None
            server.shut(door.port, spare)
        if seconds is not None:
            loop = asyncio.get_running_loop()
            door.timer = loop.call_later(seconds, lambda: loop.create_task(self.open(target)))

    async def open(self, target: str) -> None:
        """Accepts connections again. On the server's loop. Raises PortInUse."""
        door, server = self._of(target), self._running()
        if door.timer is not None:
            door.timer.cancel()
            door.timer = None
        if door.sock is None:
            door.sock = listen(door.host, door.port)
            await server.reopen(door.sock)

    def close(self) -> None:
        """Gives the ports back."""
        for door in self._doors.values():
            door.close()

    def _of(self, target: str) -> _Door:
        if target not in self._doors:
            known = ", ".join(repr(name) for name in self._doors)
            raise InvalidInput(f"No target is called {target!r}.", hint=f"Known: {known}.")
        return self._doors[target]

    def _running(self) -> Server:
        if self.server is None:
            raise RuntimeError("the simulator is not running")
        return self.server


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises PortInUse."""
    sock: socket.socket | None = None
    try:
        sock = _bound(host, port)
        sock.listen(2048)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise PortInUse(f"The simulator cannot listen on {host}:{port}: {error}") from error
    sock.setblocking(False)
    return sock


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol number is given; without it every answer
    # waits 40 ms for a delayed acknowledgement.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def url_of(sock: socket.socket) -> str:
    """Where a listening socket is reached."""
    return _url(*sock.getsockname()[:2])


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
