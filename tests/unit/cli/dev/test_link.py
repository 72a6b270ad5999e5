"""What the supervisor of ``perdure dev`` and a server say to each other."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from perdure.cli.dev.link import Link


@pytest.fixture
def ends() -> Iterator[tuple[Link, socket.socket]]:
    """The server's, and the supervisor's."""
    ours, theirs = socket.socketpair()
    link = Link(ours.detach())
    yield link, theirs
    theirs.close()
    link._sock.close()


@pytest.mark.parametrize("unread", [False, True])
def test_a_supervisor_that_is_gone_ends_its_server(
    ends: tuple[Link, socket.socket], unread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, supervisor = ends
    told = threading.Event()
    signals: list[int] = []

    def kill(pid: int, number: int) -> None:
        assert pid == os.getpid()
        signals.append(number)
        told.set()

    monkeypatch.setattr(os, "kill", kill)
    if unread:  # a reset instead of an end
        link.say(ready=["agent"])
    link.watch()
    supervisor.close()
    assert told.wait(10)
    assert signals == [signal.SIGTERM]


@pytest.mark.parametrize("unread", [False, True])
def test_a_server_whose_turn_never_comes_is_not_wanted(
    ends: tuple[Link, socket.socket], unread: bool
) -> None:
    link, supervisor = ends
    if unread:
        link.say(loaded=["agent"], files=[])
    supervisor.close()
    assert link.wait() is None
