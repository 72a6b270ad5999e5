"""What the supervisor of ``perdure dev`` and a process that serves tell each other: JSON lines over
a socket that both hold an end of. Its end at one side means that the process there is gone.

From the server: ``{"loaded": [agents], "files": [...]}``, ``{"failed": error}`` (it ends then),
``{"ready": [agents]}``, ``{"files": [...]}``. To the server: ``go``, with the listening socket.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from typing import Any

import orjson

from perdure.cli.dev import files
from perdure.errors import PerdureError, tree

AGAIN = 2.0  # seconds until modules that were imported late are told of


def described(error: PerdureError) -> dict[str, Any]:
    """An error, to be raised in another process."""
    return {"code": error.code, "message": error.message, "hint": error.hint}


def raised(document: dict[str, Any]) -> PerdureError:
    """The error that a ``described`` one is."""
    cls = next((cls for cls in tree() if cls.code == document["code"]), PerdureError)
    return cls(document["message"], hint=document["hint"])


class Link:
    """The server's end."""

    def __init__(self, number: int) -> None:
        os.set_inheritable(number, False)  # what the agent starts has no part in this
        self._sock = socket.socket(fileno=number)
        self._told: list[str] = []

    def say(self, **message: Any) -> None:
        """Tell the supervisor; a dead one is nobody's loss."""
        try:
            self._sock.sendall(orjson.dumps(message) + b"\n")
        except OSError:
            pass

    def loaded(self, agents: list[str]) -> None:
        self._told = files.loaded()
        self.say(loaded=agents, files=self._told)

    def wait(self) -> socket.socket | None:
        """Until it may serve: the socket to do it on. None: it is not wanted any more."""
        try:
            data, numbers, _, _ = socket.recv_fds(self._sock, 16, 1)
        except ConnectionResetError:
            return None
        if not data or not numbers:
            return None
        os.set_inheritable(numbers[0], False)
        return socket.socket(fileno=numbers[0])

    def watch(self) -> None:
        """From now on, in a thread: tell of modules that are imported later, and end this process
        as SIGTERM does when the supervisor is gone."""
        threading.Thread(target=self._watch, name="perdure-dev", daemon=True).start()

    def _watch(self) -> None:
        known = len(sys.modules)
        while True:
            readable, _, _ = select.select([self._sock], [], [], AGAIN)
            if readable and self._is_over():
                os.kill(os.getpid(), signal.SIGTERM)
                return
            if len(sys.modules) != known:
                known = len(sys.modules)
                found = files.loaded()
                if found != self._told:
                    self._told = found
                    self.say(files=found)

    def _is_over(self) -> bool:
        try:
            return not self._sock.recv(16)
        except ConnectionResetError:  # it was killed with words of ours unread
            return True
